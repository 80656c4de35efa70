// Calls to a runner's front in this process, as a coordinator makes them, for the tests of runner/.
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { expect, onTestFinished } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import { ChunkDecoder, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import type { SortieError } from "../../protocol/errors.ts";
import type { Exit } from "../../protocol/exit.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson, callRaw, subscribe } from "../../protocol/make-call.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import {
  type InputOf,
  type JobLogsOutput,
  type JobRequest,
  type JobState,
  JournalControl,
} from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { admitAll } from "../../runner/admission.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner, type RunnerOptions } from "../../runner/runner.ts";

/** A folder that is removed when the test ends; ask for it before what uses it. */
export function jobFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "sortie-runner-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A front that is closed when the test ends; with the keeper of the folder in this process, where it brings none. */
export async function testRunner(folder: string, options: Partial<RunnerOptions> = {}): Promise<Runner> {
  const keeper = options.keeper ?? (await embeddedKeeper(folder));
  const runner = await createRunner({
    name: "w1",
    labels: {},
    slots: 2,
    admission: admitAll,
    leaseMs: limits.leaseMs,
    journals: defaultJournalLimits,
    ...options,
    keeper,
  });
  onTestFinished(async () => {
    await runner.close();
    if (options.keeper) return;
    expect(existsSync(join(folder, "pipes"))).toBe(false);
    expect(readdirSync(join(folder, "work"))).toEqual([]);
  });
  return runner;
}

export const request = (script: string, more: Partial<JobRequest> = {}): JobRequest => ({
  attemptId: newAttemptId(),
  run: newRunId(),
  job: "job" as JobName,
  attempt: 1,
  steps: [{ shell: script }],
  env: [],
  graceMs: 200,
  stdin: false,
  ...more,
});

/** A channel to the runner, as the peer. */
export function dial({ handlers }: Pick<Runner, "handlers">, peer = "test"): ByteChannel {
  const [ours, theirs] = memoryChannelPair();
  void serveCall(theirs, handlers, { peer, name: peer });
  return ours;
}

export interface Who {
  readonly peer?: string;
  readonly holder?: string;
  readonly window?: number;
}

export const startJob = (runner: Runner, wanted: JobRequest, who: Who = {}) =>
  callRaw(dial(runner, who.peer), "/job/run", {
    request: wanted,
    window: who.window ?? limits.windowMinimum,
    holder: who.holder ?? "one",
  });

type Attach = Partial<InputOf<"/job/attach">> & { readonly peer?: string };

/** As the owner, unless `control` says otherwise. */
export const attach = (runner: Runner, { attemptId }: JobRequest, { peer, ...input }: Attach = {}) =>
  callRaw(dial(runner, peer), "/job/attach", {
    attemptId,
    offset: 0,
    control: true,
    window: limits.windowMinimum,
    holder: "one",
    ...input,
  });

export const listJobs = async (runner: Runner, peer?: string): Promise<JobState[]> =>
  (await callJson(dial(runner, peer), "/job/list", {})).jobs;

export async function jobLogs(
  runner: Runner,
  { attemptId }: JobRequest,
  { peer, ...input }: { peer?: string; offset?: number; follow?: boolean } = {},
): Promise<JobLogsOutput[]> {
  const told: JobLogsOutput[] = [];
  const asked = { attemptId, offset: 0, follow: false, ...input };
  for await (const one of subscribe(dial(runner, peer), "/job/logs", asked)) told.push(one);
  return told;
}

export interface Read {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
  readonly controls: readonly JournalControl[];
  readonly bytes: Buffer;
}

/** Reads to the exit, acknowledging all, as a coordinator does. `offset`: where the call begins, between two chunks. */
export async function finish(
  call: ByteChannel,
  offset = 0,
  onControl: (control: JournalControl) => void = () => {},
): Promise<Read> {
  const decoder = new ChunkDecoder();
  const outputs = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const controls: JournalControl[] = [];
  const all: Uint8Array[] = [];
  for (let bytes = await call.read(); bytes; bytes = await call.read()) {
    all.push(bytes);
    for (const part of decoder.push(bytes)) {
      if (part.kind === "data") outputs[part.stream === STDOUT ? "stdout" : "stderr"].push(part.payload);
      else {
        const control = v.parse(JournalControl, part.json);
        controls.push(control);
        onControl(control);
      }
    }
    await call.write(encodeControl({ type: "ack", offset: offset + decoder.offset }));
    const exit = controls.find((control) => control.type === "exit");
    if (exit) {
      await call.close();
      const [stdout, stderr] = [outputs.stdout, outputs.stderr].map((pieces) => Buffer.concat(pieces).toString());
      return { exit, controls, stdout: stdout ?? "", stderr: stderr ?? "", bytes: Buffer.concat(all) };
    }
  }
  throw new Error("the stream ended without an exit");
}

/** Reads until the outputs have said this, and gives where the next call goes on. Acknowledges where told to. */
export async function untilSaid(
  call: ByteChannel,
  text: string,
  { acknowledge = false, offset = 0 }: { readonly acknowledge?: boolean; readonly offset?: number } = {},
): Promise<number> {
  const decoder = new ChunkDecoder();
  let said = "";
  // What else was said may be behind it: nothing orders the two outputs, and several pieces may come in one.
  while (!said.includes(text) || !decoder.atBoundary) {
    const bytes = await call.read();
    if (!bytes) throw new Error(`the stream ended without ${JSON.stringify(text)}`);
    for (const part of decoder.push(bytes)) if (part.kind === "data") said += Buffer.from(part.payload).toString();
    if (acknowledge) await call.write(encodeControl({ type: "ack", offset: offset + decoder.offset }));
  }
  return offset + decoder.offset;
}

/** The code that the promise rejects with; "nothing" where it does not. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code,
  );

/** The code that reading ends with. */
export const endOf = (call: ByteChannel): Promise<string> =>
  codeOf(
    (async () => {
      while (await call.read());
    })(),
  );

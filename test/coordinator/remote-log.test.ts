// A job's journal as `coordinator logs --from` reads it from a runner: a file for each reader, and none that is left for ever.
import { mkdirSync, mkdtempSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openRemoteLog, type RemoteLog } from "../../coordinator/remote-log.ts";
import { readLog } from "../../coordinator/store/read-log.ts";
import type { Handlers } from "../../protocol/call.ts";
import { encodeChunk, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import type { JobState } from "../../protocol/messages.ts";
import { dial } from "../runner/calls.ts";

const attemptId = newAttemptId();
const output = Buffer.from("half and half\n");
const tally = new OutputTally();
tally.add(STDOUT, output);
const journal = Buffer.concat([
  encodeControl({ type: "started", at: 1, attemptId }),
  encodeChunk(STDOUT, output),
  encodeControl({ type: "exit", reason: "exited", code: 0, step: 0, bytes: tally.bytes, hash: tally.hash() }),
]);
/** All but the end of its last chunk. */
const MOST = journal.length - 5;

describe("a journal that is read from its runner", () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sortie-remote-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  /** Reads of a runner that sends so much, and the rest once it is told to. */
  function open(bytes: number, rest: Promise<unknown>): Promise<RemoteLog> {
    const handlers: Handlers = {
      async "/job/attach"(_asked, _caller, accept) {
        const missing = { stdout: 0, stderr: 0 };
        const carriage = await accept({ attemptId, offset: 0, missing, end: bytes, stdin: 0 });
        await carriage.write(journal.subarray(0, bytes));
        await rest;
        await carriage.write(journal.subarray(bytes));
        await carriage.close();
      },
    };
    const link = { id: "w1", name: "w1", open: async () => dial({ handlers }) };
    const state = { attemptId, run: newRunId(), job: "talk" as JobName, attempt: 1, startedAt: 1, running: true };
    return openRemoteLog(link, { ...state, end: bytes, attached: true, acknowledged: false } as JobState, {
      ...{ folder, follow: true, onConnection() {} },
    });
  }

  async function textOf({ path, isLive }: RemoteLog): Promise<string> {
    let text = "";
    for await (const part of readLog(path, { follow: true, isLive }))
      if (part.kind === "output") text += Buffer.from(part.bytes).toString();
    return text;
  }

  it("is whole for each reader, whoever else reads it, or was ended in the middle of it", async () => {
    const rest = Promise.withResolvers<void>();
    const first = await open(MOST, rest.promise);
    await first.caughtUp;
    const second = await open(journal.length, Promise.resolve());
    expect(await textOf(second)).toBe("half and half\n");
    await second.close();
    rest.resolve();
    expect(await textOf(first)).toBe("half and half\n");
    await first.close();
    expect(readdirSync(join(folder, "remote"))).toEqual([]);
  });

  it("is removed by a later reader where its own was killed, a day after it was written to", async () => {
    const remote = join(folder, "remote");
    mkdirSync(remote);
    for (const [name, hours] of [
      ["old", 25],
      ["young", 1],
    ] as const) {
      writeFileSync(join(remote, name), "");
      const at = new Date(Date.now() - hours * 3_600_000);
      utimesSync(join(remote, name), at, at);
    }
    await (await open(journal.length, Promise.resolve())).close();
    expect(readdirSync(remote)).toEqual(["young"]);
  });
});

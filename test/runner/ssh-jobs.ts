// Jobs of the ssh backend for its tests, driven as the keeper drives them.
import { readdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { expect } from "vitest";
import type { Command } from "../../protocol/command.ts";
import { newAttemptId, newRunId } from "../../protocol/ids.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { Backend, RunningCommand, Settled, Site } from "../../runner/keeper/backends/backend.ts";
import { type SshOptions, sshBackend } from "../../runner/keeper/backends/ssh/ssh.ts";
import { processesOf } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";

export interface Result {
  readonly settled: Settled;
  readonly stdout: string;
  readonly stderr: string;
}

export interface OpenJob {
  readonly request: JobRequest;
  readonly site: Site;
  readonly marks: string[];
  start(command: Command): Promise<RunningCommand>;
  /** Starts it, and resolves once stdout has this much. */
  startUntil(command: Command, said: RegExp): Promise<{ running: RunningCommand; result: Promise<Result> }>;
  run(command: Command, input?: Uint8Array): Promise<Result>;
}

export interface SshJobs {
  readonly backend: Backend;
  readonly logged: string[];
  open(options?: Partial<JobRequest>, cancelled?: AbortSignal): Promise<OpenJob>;
  /** Opens a job, runs one command, and closes it. */
  run(command: Command, options?: Partial<JobRequest>, input?: Uint8Array): Promise<Result>;
  sh(script: string, options?: Partial<JobRequest>): Promise<Result>;
  /** Closes the backend; nothing of any job may be left. */
  [Symbol.asyncDispose](): Promise<void>;
}

export async function collect(running: RunningCommand): Promise<Result> {
  const outputs = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
  running.stdout.on("data", (bytes: Buffer) => outputs.stdout.push(bytes));
  running.stderr.on("data", (bytes: Buffer) => outputs.stderr.push(bytes));
  const settled = await running.settled;
  return { settled, stdout: String(Buffer.concat(outputs.stdout)), stderr: String(Buffer.concat(outputs.stderr)) };
}

export function sshJobs(config: string, times: SshOptions["times"] = {}): SshJobs {
  const logged: string[] = [];
  const attempts: string[] = [];
  const backend = sshBackend({ log: (line) => logged.push(line), config, times });

  async function open(options: Partial<JobRequest> = {}, cancelled = new AbortController().signal): Promise<OpenJob> {
    const request = {
      attemptId: newAttemptId(),
      run: newRunId(),
      job: "job",
      attempt: 1,
      steps: [],
      env: [],
      ssh: { host: "target" },
      graceMs: 1_000,
      stdin: false,
      ...options,
    } as unknown as JobRequest;
    attempts.push(request.attemptId);
    const marks: string[] = [];
    const site = await backend.open(request, "", { note: () => {}, mark: (text) => marks.push(text) }, cancelled);
    const start = (command: Command): Promise<RunningCommand> =>
      site.start({ command, stdin: request.stdin }, cancelled);
    return {
      request,
      site,
      marks,
      start,
      async startUntil(command, said) {
        const running = await start(command);
        const seen = Promise.withResolvers<void>();
        let text = "";
        running.stdout.on("data", (bytes: Buffer) => {
          text += bytes;
          if (said.test(text)) seen.resolve();
        });
        const result = collect(running);
        await Promise.race([seen.promise, result]);
        expect(text).toMatch(said);
        return { running, result };
      },
      async run(command, input) {
        const running = await start(command);
        running.stdin?.end(input);
        return collect(running);
      },
    };
  }

  async function run(command: Command, options: Partial<JobRequest> = {}, input?: Uint8Array): Promise<Result> {
    const job = await open({ ...options, stdin: options.stdin ?? input !== undefined });
    const result = await job.run(command, input);
    await job.site.end();
    await job.site.close();
    return result;
  }

  return {
    backend,
    logged,
    open,
    run,
    sh: (script, options) => run({ shell: script }, options),
    async [Symbol.asyncDispose]() {
      await backend.close();
      const left = await until(
        () => attempts.flatMap((attempt) => processesOf(attempt)),
        (pids) => pids.length === 0,
      );
      expect(left).toEqual([]);
      expect(readdirSync(tmpdir()).filter((name) => attempts.some((attempt) => name.includes(attempt)))).toEqual([]);
    },
  };
}

// A job at one of the backends, asked for as a coordinator asks: through a runner's calls, by the coordinator's own
// attempt, which proves every byte. A case of the parity suite knows nothing else of where it runs.
import { createHash, type Hash } from "node:crypto";
import { once } from "node:events";
import type { PassThrough } from "node:stream";
import { startAttempt } from "../../coordinator/attempt.ts";
import type { RunnerLink } from "../../coordinator/fleet.ts";
import type { Command } from "../../protocol/command.ts";
import type { CancelledBy, Exit, SignalName } from "../../protocol/exit.ts";
import type { JobRequest, JournalControl } from "../../protocol/messages.ts";
import type { Runner } from "../../runner/runner.ts";
import { dial, request } from "../runner/calls.ts";

export interface Outcome {
  readonly exit: Exit;
  readonly stdout: string;
  readonly stderr: string;
  /** SHA-256 of each output, and how long it was: outputs themselves are kept up to 1 MiB. */
  readonly sha: { readonly stdout: string; readonly stderr: string };
  readonly bytes: { readonly stdout: number; readonly stderr: number };
  readonly controls: readonly JournalControl[];
}

export interface Options extends Partial<JobRequest> {
  readonly input?: Buffer | AsyncIterable<Uint8Array>;
  /** Takes its stdout, and is ended with it. */
  readonly pipe?: PassThrough;
}

export interface Begun {
  /** Once the outputs together have said this. */
  said(text: string): Promise<void>;
  cancel(by?: CancelledBy): void;
  signal(name: SignalName): void;
  readonly outcome: Promise<Outcome>;
}

export interface Place {
  /** Jobs that it is best asked for at a time. */
  readonly atOnce: number;
  begin(what: string | readonly string[] | readonly Command[], options?: Options): Promise<Begun>;
  run(what: string | readonly string[] | readonly Command[], options?: Options): Promise<Outcome>;
  /** A driven job, ready for commands. */
  drive(options?: Options): Promise<Driven>;
}

export interface Driven {
  /** Where its commands run. */
  readonly cwd: string;
  /** Commands within it. */
  readonly within: Pick<Place, "begin" | "run">;
  cancel(by?: CancelledBy): void;
  finish(code: number): void;
  readonly outcome: Promise<Outcome>;
}

const KEPT = 1024 * 1024;
/** An engine is no faster with more of them, and leaves each of them waiting for longer. */
const [AT_ONCE, AT_ONCE_OF_ENGINE] = [8, 4];

/** `job`: what makes it a job of this backend. */
export function placeOf(runner: Runner, job: Partial<JobRequest>): Place {
  const link: RunnerLink = { id: "test", name: "w1", open: async () => dial(runner) };

  const begin = (what: Parameters<Place["begin"]>[0], { input, pipe: _, ...options }: Options = {}) =>
    start(request("", { ...job, ...options, steps: stepsOf(what), stdin: input !== undefined }), { input });

  async function drive(options: Options = {}): Promise<Driven> {
    const wanted = request("", { ...job, ...options, steps: [], driven: true });
    const ready = Promise.withResolvers<string>();
    const { outcome, cancel, finish } = await start(wanted, {}, (message) => {
      if (message.type === "ready") ready.resolve(message.cwd);
    });
    outcome.then(({ exit }) => ready.reject(new Error(`it ended: ${JSON.stringify(exit)}`)), ready.reject);
    const cwd = await ready.promise;
    const beginWithin: Place["begin"] = (what, { input, pipe, ...more } = {}) => {
      const own = { run: wanted.run, within: wanted.attemptId, steps: stepsOf(what), stdin: input !== undefined };
      return start(request("", { ...more, ...own }), { input, pipe });
    };
    const within = {
      begin: beginWithin,
      run: async (...asked: Parameters<Place["run"]>) => (await beginWithin(...asked)).outcome,
    };
    return { cwd, within, cancel, finish, outcome };
  }

  async function start(
    wanted: JobRequest,
    { input, pipe }: { input?: Options["input"] | undefined; pipe?: PassThrough | undefined },
    onControl: (message: JournalControl) => void = () => {},
  ): Promise<Begun & Pick<Driven, "finish">> {
    const kept = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
    const bytes = { stdout: 0, stderr: 0 };
    const hashes: Record<"stdout" | "stderr", Hash> = { stdout: createHash("sha256"), stderr: createHash("sha256") };
    const controls: JournalControl[] = [];
    let text = "";
    const listeners = new Set<() => void>();
    const attempt = await startAttempt({
      link,
      attemptId: wanted.attemptId,
      request: wanted,
      reconnectMs: 1_000,
      stdin: input === undefined ? undefined : Buffer.isBuffer(input) ? pieces(input) : input,
      sink: {
        store() {},
        async output(stream, data) {
          if (stream === "stdout" && pipe && !pipe.write(Buffer.from(data))) await once(pipe, "drain");
          hashes[stream].update(data);
          if (bytes[stream] < KEPT) kept[stream].push(Buffer.from(data));
          bytes[stream] += data.length;
          if (text.length < KEPT) text += Buffer.from(data).toString();
          for (const listener of listeners) listener();
        },
        control(message) {
          controls.push(message);
          onControl(message);
        },
      },
    });
    const outcome = attempt.end.then(({ exit, gap }) => {
      pipe?.end();
      if (gap !== undefined) throw new Error(`bytes are missing: ${gap}`);
      return {
        exit,
        stdout: Buffer.concat(kept.stdout).toString(),
        stderr: Buffer.concat(kept.stderr).toString(),
        sha: { stdout: hashes.stdout.digest("hex"), stderr: hashes.stderr.digest("hex") },
        bytes,
        controls,
      };
    });
    outcome.catch(() => {});
    return {
      outcome,
      cancel: (by = "user") => attempt.cancel(by),
      signal: (name) => attempt.signal(name),
      finish: (code) => attempt.finish(code),
      said: (wantedText) =>
        new Promise((resolve, reject) => {
          const look = (): void => {
            if (!text.includes(wantedText)) return;
            listeners.delete(look);
            resolve();
          };
          listeners.add(look);
          look();
          outcome.then(
            (end) =>
              reject(
                new Error(`it ended without ${JSON.stringify(wantedText)}: ${JSON.stringify(end.exit)} ${end.stderr}`),
              ),
            reject,
          );
        }),
    };
  }

  const atOnce = job.container ? AT_ONCE_OF_ENGINE : AT_ONCE;
  return { atOnce, begin, run: async (what, options) => (await begin(what, options)).outcome, drive };
}

/** A script, argv, or steps. */
function stepsOf(what: string | readonly string[] | readonly Command[]): Command[] {
  if (typeof what === "string") return [{ argv: ["/bin/sh", "-c", what] }];
  if (what.every((part) => typeof part === "string")) return [{ argv: [...what] as string[] }];
  return [...what] as Command[];
}

async function* pieces(input: Buffer): AsyncIterable<Uint8Array> {
  for (let at = 0; at < input.length; at += 65_536) yield input.subarray(at, at + 65_536);
}

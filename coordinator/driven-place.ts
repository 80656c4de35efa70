// A place of a job that a function drives: on a runner, held open by an attempt that runs no command of its own, and the
// commands that are started there, each an attempt within it. drive.ts opens one for the job, and one for each of `also`.
import { setTimeout as delay } from "node:timers/promises";
import { asSortieError, type ErrorCode, SortieError } from "../protocol/errors.ts";
import type { Exit, SignalName } from "../protocol/exit.ts";
import { newAttemptId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import type { JobRequest, JournalControl } from "../protocol/messages.ts";
import { type Attempt, type AttemptEnd, startAttempt } from "./attempt.ts";
import type { RunnerLink } from "./fleet.ts";
import { AWAY } from "./places.ts";
import type { CommandSink, CommandSpec, CommandStarter, StartedCommand } from "./recipe/command-starter.ts";

export interface PlaceOptions {
  readonly link: RunnerLink;
  /** Of the driven attempt. */
  readonly request: JobRequest;
  readonly reconnectMs: number;
  /** Control messages of its own journal, and notes of its commands. */
  readonly control: (message: JournalControl) => Promise<void> | void;
  readonly output: (stream: "stdout" | "stderr", bytes: Uint8Array, at: number, shown: boolean) => Promise<void>;
  readonly connection?: (lost: string | undefined) => void;
}

export interface DrivenPlace {
  readonly attempt: Attempt;
  /** Where its commands run, once they can. Never settles where they never could: then `over` does. */
  readonly ready: Promise<string>;
  /** Settles with the attempt's end. */
  readonly over: Promise<AttemptEnd>;
  readonly starter: CommandStarter;
  /** Resolves once all commands that were started are over, and what they wrote was taken. */
  commandsOver(): Promise<void>;
  /** What they still write is taken by nobody. */
  leaveCommands(): void;
}

/** Nothing was taken: asked again until the time is up. */
const AGAIN: readonly ErrorCode[] = [...AWAY, "TOO_MANY"];

/** Resolves once the runner has taken it. Rejects as startAttempt does; nothing runs then. */
export async function openPlace(options: PlaceOptions): Promise<DrivenPlace> {
  const { link, request, reconnectMs } = options;
  const ready = Promise.withResolvers<string>();
  const attempt = await startAttempt({
    link,
    attemptId: request.attemptId,
    request,
    reconnectMs,
    sink: {
      store() {},
      output() {},
      control(message) {
        if (message.type === "ready") ready.resolve(message.cwd);
        return options.control(message);
      },
      ...(options.connection ? { connection: options.connection } : {}),
    },
  });
  const over = attempt.end;
  // Whoever waits for it hears of it; nobody else needs to.
  over.catch(() => {});
  const closed = new AbortController();
  const left = new AbortController();
  const ends = new Set<Promise<Exit>>();
  over.then(
    () => closed.abort(),
    (error: unknown) => closed.abort(error),
  );
  return {
    attempt,
    ready: ready.promise,
    over,
    starter: {
      start(spec, sink) {
        const started = startWithin(options, { closed: closed.signal, left: left.signal }, spec, sink);
        ends.add(started.end);
        const forget = (): void => void ends.delete(started.end);
        started.end.then(forget, forget);
        return started;
      },
    },
    async commandsOver() {
      while (ends.size > 0) await Promise.allSettled(ends);
    },
    leaveCommands: () => left.abort(jobIsOver()),
  };
}

function startWithin(
  { link, request, reconnectMs, control, output }: PlaceOptions,
  { closed, left }: { readonly closed: AbortSignal; readonly left: AbortSignal },
  spec: CommandSpec,
  sink: CommandSink,
): StartedCommand {
  const { command, env, cwd, timeoutMs, stdin } = spec;
  const attemptId = newAttemptId();
  const { run, job, attempt: number, graceMs } = request;
  const asked: JobRequest = {
    attemptId,
    run,
    job,
    attempt: number,
    within: request.attemptId,
    steps: [command],
    env: Object.entries(env),
    graceMs,
    stdin: stdin !== undefined,
    ...(cwd === undefined ? {} : { cwd }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
  };
  const cancelled = new AbortController();
  const signals: SignalName[] = [];
  let attempt: Attempt | undefined;

  /** Undefined where it was cancelled before the runner had it. */
  async function begin(): Promise<Attempt | undefined> {
    const since = performance.now();
    for (let pause: number = limits.reconnectFirstMs; ; pause = Math.min(pause * 2, limits.reconnectMostMs)) {
      if (closed.aborted || left.aborted) throw jobIsOver();
      if (cancelled.signal.aborted) return undefined;
      try {
        return await startAttempt({
          link,
          attemptId,
          request: asked,
          reconnectMs,
          stdin,
          sink: {
            store() {},
            async output(stream, bytes, at) {
              const to = spec[stream];
              if (to !== "passed") await output(stream, bytes, at, to === "shown");
              await sink.output(stream, bytes);
            },
            control: (message) => (message.type === "note" ? control(message) : undefined),
          },
        });
      } catch (error) {
        const { code } = asSortieError(error);
        if (!AGAIN.includes(code) || performance.now() - since > reconnectMs) throw error;
        await delay(pause * (0.5 + Math.random()), undefined, {
          signal: AbortSignal.any([closed, left, cancelled.signal]),
        }).catch(() => {});
      }
    }
  }

  async function toTheEnd(): Promise<Exit> {
    if (spec.note !== undefined) await control({ type: "note", at: Date.now(), from: "$", text: spec.note });
    const started = await begin();
    if (!started) return CANCELLED;
    attempt = started;
    const cancel = (): void => started.cancel("run");
    if (cancelled.signal.aborted) cancel();
    cancelled.signal.addEventListener("abort", cancel, { once: true });
    // A place that was lost takes its commands with it. One that ended has ended them, and their exits are on the way.
    const abandon = (): void => {
      if (closed.reason instanceof SortieError) started.abandon(closed.reason);
    };
    const leave = (): void => started.abandon(left.reason as Error);
    closed.addEventListener("abort", abandon, { once: true });
    left.addEventListener("abort", leave, { once: true });
    if (closed.aborted) abandon();
    if (left.aborted) leave();
    for (const name of signals.splice(0)) started.signal(name);
    try {
      const { exit, gap } = await started.end;
      if (gap !== undefined) throw new SortieError("OUTPUT_INCOMPLETE", `The command's output is not whole: ${gap}.`);
      return exit;
    } finally {
      closed.removeEventListener("abort", abandon);
      left.removeEventListener("abort", leave);
    }
  }

  return {
    end: toTheEnd(),
    signal(name) {
      if (attempt) attempt.signal(name);
      else signals.push(name);
    },
    cancel: () => cancelled.abort(),
  };
}

/** Of a command that never began. */
const CANCELLED: Exit = {
  type: "exit",
  reason: "cancelled",
  code: null,
  signal: null,
  by: "run",
  bytes: { stdout: 0, stderr: 0 },
};
const jobIsOver = (): SortieError =>
  new SortieError("INTERRUPTED", "The job is over, and starts no more commands.", {
    hint: "Await every command before the function returns.",
  });

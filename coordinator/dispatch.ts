// One attempt of one job: opens the call, keeps the log, acknowledges, and tells what happens as events.
import { asSortieError, type SortieError } from "../protocol/errors.ts";
import type { Exit } from "../protocol/exit.ts";
import { type AttemptId, newAttemptId, type RunId } from "../protocol/ids.ts";
import { type Attempt, reconnectMsOf, startAttempt } from "./attempt.ts";
import { connectionEvent, dispatchedEvent } from "./attempt-events.ts";
import { type JobOutcome, outcomeOf, type RunEvent } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import type { PlanJob } from "./plan.ts";
import { NOT_JOURNALED } from "./proof.ts";
import { requestOf } from "./request.ts";
import type { Secrets } from "./secrets.ts";
import { stdinOf } from "./stdin-source.ts";
import { createLog, reopenLog } from "./store/log.ts";
import { logPath } from "./store/store.ts";

export interface DispatchOptions {
  readonly run: RunId;
  readonly job: PlanJob;
  readonly attempt: number;
  /** An attempt that an earlier coordinator process began. */
  readonly begun?: AttemptId | undefined;
  readonly runner: RunnerLink;
  readonly secrets: Secrets;
  /** The coordinator's folder. */
  readonly folder: string;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** Aborted when the job is cancelled; its reason says by whom. */
  readonly cancelled: AbortSignal;
  /** Aborted when this process lets go of the job without ending it. */
  readonly abandoned: AbortSignal;
  /** Default: the job's. */
  readonly stdin?: AsyncIterable<Uint8Array>;
}

export type Dispatched =
  /** The job came out; `message` says what the exit does not. */
  | {
      readonly kind: "ended";
      readonly outcome: JobOutcome;
      readonly exit?: Exit;
      readonly gap?: string;
      readonly message?: string;
      /** The runner was not found again. */
      readonly runnerGone?: boolean;
      readonly durationMs: number;
      readonly attemptId: AttemptId;
      /** What a function gave that drove it to its end. */
      readonly given?: unknown;
    }
  /** The runner did not take it, and nothing ran: another may, or the same one later. */
  | {
      readonly kind: "not-taken";
      readonly error: SortieError;
      /** The runner that did not, where that is one of several. */
      readonly runnerId?: string;
    };

/** Never rejects, but with STORE_FAILED, without its record a run cannot go on, and with SUPERSEDED or when abandoned. */
export async function dispatch(options: DispatchOptions): Promise<Dispatched> {
  const { run, job, runner, emit, cancelled, abandoned, begun } = options;
  const attemptId = begun ?? newAttemptId();
  const startedAt = Date.now();
  const path = logPath(options.folder, run, attemptId);
  if (!begun) await emit(dispatchedEvent(options, attemptId, startedAt));
  const stored = begun === undefined ? undefined : reopenLog(path);
  const log = createLog(path);
  let attempt: Attempt;
  try {
    attempt = await startAttempt({
      link: runner,
      attemptId,
      ...(begun ? {} : { request: requestOf(options, job, attemptId) }),
      ...(stored ? { stored } : {}),
      stdin: options.stdin ?? stdinOf(job, options.secrets),
      reconnectMs: reconnectMsOf(job.leaseMs),
      sink: {
        store: (bytes) => log.write(bytes),
        output: (stream, bytes, at) => emit({ type: "job-output", at, job: job.name, stream, bytes }),
        control(message) {
          if (message.type === "started")
            return emit({
              type: "job-started",
              at: message.at,
              job: job.name,
              attempt: options.attempt,
              attemptId,
              runner: runner.name,
            });
          if (message.type === "step")
            return emit({ type: "job-step", at: message.at, job: job.name, index: message.index, of: message.of });
          if (message.type === "note")
            return emit({ type: "job-note", at: message.at, job: job.name, from: message.from, text: message.text });
        },
        connection: (lost) => void emit(connectionEvent(job.name, runner.name, lost)),
      },
    });
  } catch (error) {
    await log.close();
    await emit({ type: "job-returned", at: Date.now(), job: job.name, attemptId });
    return { kind: "not-taken", error: asSortieError(error) };
  }
  const cancel = (): void => attempt.cancel(cancelled.reason === "run" ? "run" : "user");
  const abandon = (): void => attempt.abandon(abandoned.reason as Error);
  cancelled.addEventListener("abort", cancel, { once: true });
  abandoned.addEventListener("abort", abandon, { once: true });
  if (cancelled.aborted) cancel();
  if (abandoned.aborted) abandon();
  try {
    const { exit, gap } = await attempt.end;
    const durationMs = Date.now() - startedAt;
    // What was dropped at a limit is missing and said so; what is not what the runner journaled proves nothing.
    const outcome = gap?.includes(NOT_JOURNALED) ? "lost" : outcomeOf(exit);
    return { kind: "ended", outcome, exit, ...(gap === undefined ? {} : { gap }), durationMs, attemptId };
  } catch (error) {
    const failure = asSortieError(error);
    if (abandoned.aborted || ["STORE_FAILED", "INTERNAL", "SUPERSEDED"].includes(failure.code)) throw failure;
    if (begun && failure.code === "NOT_FOUND" && !stored) {
      await emit({ type: "job-returned", at: Date.now(), job: job.name, attemptId });
      return { kind: "not-taken", error: failure };
    }
    return {
      kind: "ended",
      outcome: "lost",
      message: `${failure.message} ${failure.hint}`,
      runnerGone: failure.code === "CONNECTION_LOST",
      durationMs: Date.now() - startedAt,
      attemptId,
    };
  } finally {
    cancelled.removeEventListener("abort", cancel);
    abandoned.removeEventListener("abort", abandon);
    await log.close();
  }
}

// One attempt of one job: opens the call, keeps the log, acknowledges, and tells what happens as events.
import { asSortieError, type SortieError } from "../protocol/errors.ts";
import { type Exit, isInfrastructure, passed } from "../protocol/exit.ts";
import { newAttemptId, type RunId } from "../protocol/ids.ts";
import type { JobRequest } from "../protocol/messages.ts";
import { type Attempt, startAttempt } from "./attempt.ts";
import type { JobOutcome, RunEvent } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import type { PlanJob } from "./plan.ts";
import { createLog } from "./store/log.ts";
import { logPath } from "./store/store.ts";

export interface DispatchOptions {
  readonly run: RunId;
  readonly job: PlanJob;
  readonly attempt: number;
  readonly runner: RunnerLink;
  /** The coordinator's folder. */
  readonly folder: string;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** Aborted when the run is cancelled; its reason says by whom. */
  readonly cancelled: AbortSignal;
}

export type Dispatched =
  /** The job came out; `message` says what the exit does not. */
  | {
      readonly kind: "ended";
      readonly outcome: JobOutcome;
      readonly exit?: Exit;
      readonly message?: string;
      readonly durationMs: number;
    }
  /** The runner did not take it, and nothing ran: another may, or the same one later. */
  | { readonly kind: "not-taken"; readonly error: SortieError };

/** Never rejects, but with STORE_FAILED: without its record a run cannot go on. */
export async function dispatch(options: DispatchOptions): Promise<Dispatched> {
  const { run, job, runner, emit, cancelled } = options;
  const attemptId = newAttemptId();
  const startedAt = Date.now();
  const request: JobRequest = {
    attemptId,
    run,
    job: job.name,
    attempt: options.attempt,
    steps: [...job.steps],
    env: job.env,
    graceMs: job.graceMs,
    stdin: false,
    ...(job.cwd === undefined ? {} : { cwd: job.cwd }),
    ...(job.timeoutMs === undefined ? {} : { timeoutMs: job.timeoutMs }),
  };
  const log = createLog(logPath(options.folder, run, attemptId));
  let attempt: Attempt;
  try {
    const channel = await runner.open();
    attempt = await startAttempt(channel, request, {
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
      },
    });
  } catch (error) {
    await log.close();
    return { kind: "not-taken", error: asSortieError(error) };
  }
  const cancel = (): void => attempt.cancel(cancelled.reason === "run" ? "run" : "user");
  cancelled.addEventListener("abort", cancel, { once: true });
  if (cancelled.aborted) cancel();
  try {
    const exit = await attempt.exit;
    return { kind: "ended", outcome: outcomeOf(exit), exit, durationMs: Date.now() - startedAt };
  } catch (error) {
    const failure = asSortieError(error);
    if (failure.code === "STORE_FAILED" || failure.code === "INTERNAL") throw failure;
    return {
      kind: "ended",
      outcome: "lost",
      message: `${failure.message} ${failure.hint}`,
      durationMs: Date.now() - startedAt,
    };
  } finally {
    cancelled.removeEventListener("abort", cancel);
    await log.close();
  }
}

function outcomeOf(exit: Exit): JobOutcome {
  if (passed(exit)) return "passed";
  if (exit.reason === "cancelled") return "cancelled";
  return isInfrastructure(exit) ? "lost" : "failed";
}

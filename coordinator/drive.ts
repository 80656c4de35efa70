// One attempt of a job whose `run` is a function: opens its places, calls it with a `$` for each, and ends them as it came
// out. execute.ts calls it in place of dispatch(), and gets the same.
import { setTimeout as delay } from "node:timers/promises";
import { asSortieError, errorCatalog, exitCodes, SortieError } from "../protocol/errors.ts";
import { type Exit, exitCodeOf, isInfrastructure } from "../protocol/exit.ts";
import { type AttemptId, newAttemptId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { startAttempt } from "./attempt.ts";
import { dispatchedEvent } from "./attempt-events.ts";
import type { Dispatched } from "./dispatch.ts";
import type { DriveOptions } from "./drive-options.ts";
import type { DrivenPlace } from "./driven-place.ts";
import { outcomeOf } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import { callFunction, type Returned } from "./function-call.ts";
import { describeFailure } from "./function-failure.ts";
import { JobLog } from "./job-log.ts";
import { openPlaces } from "./open-places.ts";
import { isCommandError } from "./recipe/command-error.ts";
import { logPath } from "./store/store.ts";

/** Never rejects, but with STORE_FAILED, and when it was abandoned. */
export async function drive(options: DriveOptions): Promise<Dispatched> {
  const { run, job, emit, cancelled, abandoned } = options;
  const attemptId = newAttemptId();
  const startedAt = Date.now();
  if (cancelled.aborted)
    return { kind: "not-taken", error: new SortieError("INTERRUPTED", "It was cancelled before it started.") };
  await emit({ ...dispatchedEvent(options, attemptId, startedAt), driven: true });
  const log = new JobLog(logPath(options.folder, run, attemptId));
  const over = new AbortController();
  const places: DrivenPlace[] = [];
  const cancel = (): void => {
    over.abort(new SortieError("INTERRUPTED", "The job was cancelled."));
    for (const place of places) place?.attempt.cancel(cancelled.reason === "run" ? "run" : "user");
  };
  const abandon = (): void => {
    over.abort(abandoned.reason);
    for (const place of places) place?.attempt.abandon(abandoned.reason as Error);
  };
  cancelled.addEventListener("abort", cancel, { once: true });
  abandoned.addEventListener("abort", abandon, { once: true });
  try {
    const notTaken = await openPlaces(options, attemptId, log, places);
    if (abandoned.aborted) throw abandoned.reason;
    if (notTaken) {
      await emit({ type: "job-returned", at: Date.now(), job: job.name, attemptId });
      return notTaken;
    }
    // It may have come while some were opened.
    if (cancelled.aborted) cancel();
    return await conduct(options, places, log, over, { attemptId, startedAt });
  } finally {
    cancelled.removeEventListener("abort", cancel);
    abandoned.removeEventListener("abort", abandon);
    over.abort();
    await log.close();
  }
}

/**
 * Ends an attempt that an earlier coordinator process began: the function that drove it went with that process. Rejects
 * as startAttempt does.
 */
export async function endDriven(runner: RunnerLink, attemptId: AttemptId): Promise<void> {
  const attempt = await startAttempt({
    link: runner,
    attemptId,
    reconnectMs: limits.unreachableMs,
    sink: { store() {}, output() {} },
  });
  attempt.cancel("run");
  await attempt.end;
}

async function conduct(
  options: DriveOptions,
  places: readonly DrivenPlace[],
  log: JobLog,
  over: AbortController,
  { attemptId, startedAt }: { readonly attemptId: AttemptId; readonly startedAt: number },
): Promise<Dispatched> {
  const { job, emit, abandoned, secrets } = options;
  const [main] = places as [DrivenPlace, ...DrivenPlace[]];
  /** The first place that ends by itself decides; a function that is still there is told. */
  const ended = Promise.race(
    places.map((place) =>
      place.over.then(
        () => place,
        () => place,
      ),
    ),
  );
  const call = callFunction(options, places, log, over.signal);
  const first = await Promise.race([call.returned, ended]);
  let result: Returned | undefined;
  if ("given" in first || "error" in first) {
    result = first;
    for (const place of places) place.attempt.finish(place === main ? codeOf(first) : 0);
  } else {
    over.abort(new SortieError("INTERRUPTED", "The job is over."));
    for (const { attempt } of places) attempt.cancel("run");
    result = call.called ? await soon(call.returned) : undefined;
  }
  const ends = await Promise.allSettled(places.map((place) => place.over));
  // What they wrote last comes on streams of their own. A function that hangs may hold some: those are left.
  if (call.called && !result) for (const place of places) place.leaveCommands();
  await Promise.all(places.map((place) => place.commandsOver()));
  if (abandoned.aborted) throw abandoned.reason;
  const decisive = places.indexOf("over" in first ? first : main);
  const end = ends[decisive] as PromiseSettledResult<{ exit: Exit }>;
  const durationMs = Date.now() - startedAt;
  if (end.status === "rejected") {
    const failure = asSortieError(end.reason);
    if (["STORE_FAILED", "INTERNAL", "SUPERSEDED"].includes(failure.code)) throw failure;
    const message = `${failure.message} ${failure.hint}`;
    const runnerGone = failure.code === "CONNECTION_LOST" && decisive === 0;
    return { kind: "ended", outcome: "lost", message, runnerGone, durationMs, attemptId };
  }
  const told = result && "error" in result ? describeFailure(result.error, options.recipe) : undefined;
  const problem = told && (secrets.redaction?.text(told) ?? told);
  if (problem !== undefined && end.value.exit.reason === "exited") {
    const bytes = Buffer.from(`sortie: ${problem}\n`);
    await log.output("stderr", bytes, Date.now());
    await emit({ type: "job-output", at: Date.now(), job: job.name, stream: "stderr", bytes });
  }
  const exit = await log.end(end.value.exit);
  const isLost = result && "error" in result && wasLost(result.error) && exit.reason === "exited";
  return {
    kind: "ended",
    outcome: isLost ? "lost" : outcomeOf(exit),
    exit,
    ...(problem === undefined || exit.reason !== "exited" ? {} : { message: problem }),
    ...(result && "given" in result ? { given: result.given } : {}),
    durationMs,
    attemptId,
  };
}

const codeOf = (result: Returned): number => {
  if ("given" in result) return 0;
  return (isCommandError(result.error) && exitCodeOf(result.error.exit)) || exitCodes.failed;
};

/** By the infrastructure, rather than by what the function does. */
const wasLost = (error: unknown): boolean =>
  isCommandError(error)
    ? isInfrastructure(error.exit)
    : error instanceof SortieError && errorCatalog[error.code].exitCode === exitCodes.infrastructure;

/** What comes within a while. */
async function soon<T>(promise: Promise<T>): Promise<T | undefined> {
  const waiting = new AbortController();
  const late = delay(limits.functionEndMs, undefined, { signal: waiting.signal }).catch(() => undefined);
  try {
    return await Promise.race([promise, late]);
  } finally {
    waiting.abort();
  }
}

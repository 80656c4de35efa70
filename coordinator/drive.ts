// One attempt of a job whose `run` is a function: opens its places, calls it with a `$` for each, and ends them as it came
// out. execute.ts calls it in place of dispatch(), and gets the same.
import { setTimeout as delay } from "node:timers/promises";
import { formatWithOptions } from "node:util";
import { asSortieError, errorCatalog, exitCodes, messageOf, SortieError } from "../protocol/errors.ts";
import { type Exit, exitCodeOf } from "../protocol/exit.ts";
import { type AttemptId, newAttemptId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { startAttempt } from "./attempt.ts";
import type { Dispatched, DispatchOptions } from "./dispatch.ts";
import { type DrivenPlace, openPlace } from "./driven-place.ts";
import { outcomeOf } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import { JobLog } from "./job-log.ts";
import type { PlanJob, PlanPlace } from "./plan.ts";
import type { Questions } from "./questions.ts";
import { isCommandError } from "./recipe/command-error.ts";
import type { ConditionContext, JobContext, JobFunction } from "./recipe/function-step.ts";
import { ownFrame } from "./recipe/own-place.ts";
import { createShell, type Shell } from "./recipe/shell-function.ts";
import { requestOf } from "./request.ts";
import { logPath } from "./store/store.ts";

export interface DriveOptions extends DispatchOptions {
  /** The recipe's file. */
  readonly recipe: string;
  readonly context: ConditionContext;
  /** The runners of the job's other places, in the order of `job.also`. */
  readonly also: readonly RunnerLink[];
  /** What its function may ask the person who runs it. */
  readonly questions: Questions;
}

/** What the function came to. */
type Returned = { readonly given: unknown } | { readonly error: unknown };

/** Never rejects, but with STORE_FAILED, and when it was abandoned. */
export async function drive(options: DriveOptions): Promise<Dispatched> {
  const { run, job, runner, emit, cancelled, abandoned } = options;
  const attemptId = newAttemptId();
  const startedAt = Date.now();
  await emit({
    type: "job-dispatched",
    at: startedAt,
    job: job.name,
    attempt: options.attempt,
    attemptId,
    runner: runner.name,
    runnerId: runner.id,
    driven: true,
  });
  const log = new JobLog(logPath(options.folder, run, attemptId));
  const over = new AbortController();
  try {
    const opened = await openAll(options, attemptId, log);
    if (!Array.isArray(opened)) {
      await emit({ type: "job-returned", at: Date.now(), job: job.name, attemptId });
      return opened;
    }
    const cancel = (): void => {
      over.abort(new SortieError("INTERRUPTED", "The job was cancelled."));
      for (const { attempt } of opened) attempt.cancel(cancelled.reason === "run" ? "run" : "user");
    };
    const abandon = (): void => {
      over.abort(abandoned.reason);
      for (const { attempt } of opened) attempt.abandon(abandoned.reason as Error);
    };
    cancelled.addEventListener("abort", cancel, { once: true });
    abandoned.addEventListener("abort", abandon, { once: true });
    if (cancelled.aborted) cancel();
    if (abandoned.aborted) abandon();
    try {
      return await conduct(options, opened, log, over, { attemptId, startedAt });
    } finally {
      cancelled.removeEventListener("abort", cancel);
      abandoned.removeEventListener("abort", abandon);
    }
  } finally {
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

/** All places, or why one of them was not taken; then none is held. */
async function openAll(
  options: DriveOptions,
  attemptId: AttemptId,
  log: JobLog,
): Promise<DrivenPlace[] | (Dispatched & { readonly kind: "not-taken" })> {
  const { run, job, runner, emit, attempt } = options;
  const own = requestOf(run, job, attempt, attemptId);
  const places = [
    { link: runner, request: own, name: undefined },
    ...(job.also ?? []).map((place, index) => ({
      link: options.also[index] as RunnerLink,
      request: requestOf(run, placeAsJob(job, place), attempt, newAttemptId()),
      name: place.name,
    })),
  ];
  for (const { link, request, name } of places)
    if (name !== undefined)
      await emit({
        type: "place-dispatched",
        at: Date.now(),
        job: job.name,
        place: name,
        attemptId: request.attemptId,
        runner: link.name,
        runnerId: link.id,
      });
  const opening = places.map(({ link, request, name }) =>
    openPlace({
      link,
      request: { ...request, steps: [], driven: true },
      reconnectMs: reconnectMsOf(job),
      async control(message) {
        if (message.type === "started" && name === undefined) {
          await log.control(message);
          await emit({ type: "job-started", at: message.at, job: job.name, attempt, attemptId, runner: runner.name });
        }
        if (message.type === "note") {
          await log.control(message);
          await emit({ type: "job-note", at: message.at, job: job.name, from: message.from, text: message.text });
        }
      },
      async output(stream, bytes, at, shown) {
        await log.output(stream, bytes, at);
        if (shown) await emit({ type: "job-output", at, job: job.name, stream, bytes });
      },
      connection(lost) {
        const at = Date.now();
        if (lost === undefined) void emit({ type: "job-reconnected", at, job: job.name });
        else void emit({ type: "job-reconnecting", at, job: job.name, message: `${link.name}: ${lost}` });
      },
    }),
  );
  const settled = await Promise.allSettled(opening);
  const opened = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
  const failed = settled.findIndex((one) => one.status === "rejected");
  if (failed < 0) return opened;
  for (const place of opened) place.attempt.cancel("run");
  await Promise.all(opened.map((place) => place.over.catch(() => {})));
  const { reason } = settled[failed] as PromiseRejectedResult;
  return { kind: "not-taken", error: asSortieError(reason), runnerId: (places[failed]?.link ?? runner).id };
}

/** A place is asked for as the job is, but for what it says itself. */
function placeAsJob(job: PlanJob, { name: _, ...place }: PlanPlace): PlanJob {
  const { container, ssh, user, limits: resources, nice, umask, cwd, timeoutMs, secrets, ...rest } = job;
  return { ...rest, ...place };
}

const reconnectMsOf = ({ leaseMs }: PlanJob): number =>
  leaseMs === null ? limits.reconnectDetachedMs : (leaseMs ?? limits.leaseMs);

async function conduct(
  options: DriveOptions,
  places: readonly DrivenPlace[],
  log: JobLog,
  over: AbortController,
  { attemptId, startedAt }: { readonly attemptId: AttemptId; readonly startedAt: number },
): Promise<Dispatched> {
  const { job, emit, abandoned } = options;
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
  const state = { called: false };
  const returned = call(options, places, log, over.signal, state);
  const first = await Promise.race([returned, ended]);
  let result: Returned | undefined;
  if ("given" in first || "error" in first) {
    result = first;
    for (const place of places) place.attempt.finish(place === main ? codeOf(first) : 0);
  } else {
    over.abort(new SortieError("INTERRUPTED", "The job is over."));
    for (const { attempt } of places) attempt.cancel("run");
    const late = delay(limits.functionEndMs, undefined, { ref: false });
    if (state.called) result = (await Promise.race([returned, late])) ?? undefined;
  }
  const ends = await Promise.allSettled(places.map((place) => place.over));
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
  const problem = result && "error" in result ? describe(result.error, options) : undefined;
  if (problem !== undefined && end.value.exit.reason === "exited") {
    const bytes = Buffer.from(`sortie: ${problem}\n`);
    await log.output("stderr", bytes, Date.now());
    await emit({ type: "job-output", at: Date.now(), job: job.name, stream: "stderr", bytes });
  }
  const exit = await log.end(end.value.exit);
  const isLost = result && "error" in result && isInfrastructureError(result.error) && exit.reason === "exited";
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

/** Calls the function once every place is ready, and waits for what it has started. Never rejects. */
async function call(
  { job, context, emit, questions }: DriveOptions,
  places: readonly DrivenPlace[],
  log: JobLog,
  signal: AbortSignal,
  state: { called: boolean },
): Promise<Returned> {
  const [workspace = ""] = await Promise.all(places.map((place) => place.ready));
  const shells = places.map(({ starter }) => createShell(starter));
  const [$, ...others] = shells.map((shell) => shell.$) as [Shell, ...Shell[]];
  const also = Object.fromEntries((job.also ?? []).map(({ name }, index) => [name, others[index]]));
  let waiting = 0;
  const write = async (...parts: readonly unknown[]): Promise<void> => {
    const bytes = Buffer.from(`${formatWithOptions({ colors: false }, ...parts)}\n`);
    if (waiting + bytes.length > limits.functionLogBytes)
      throw new RangeError(`log() has ${waiting} bytes that are not stored yet: await it.`);
    waiting += bytes.length;
    const at = Date.now();
    await log.output("stdout", bytes, at);
    await emit({ type: "job-output", at, job: job.name, stream: "stdout", bytes });
    waiting -= bytes.length;
  };
  const logged: Promise<void>[] = [];
  const asker = questions.asker(job.name, signal, async (event) => {
    if (event.type === "job-asking" || event.by === "option")
      await log.control({ type: "note", at: event.at, from: "?", text: event.question });
    await emit(event);
  });
  const whole: JobContext<readonly unknown[], string> = {
    ...context,
    $,
    also: also as Record<string, Shell>,
    log: (...parts) => {
      const written = write(...parts);
      logged.push(written);
      return written;
    },
    ask: asker.ask,
    signal,
    workspace,
  };
  state.called = true;
  try {
    const given = await (job.drive as JobFunction<readonly unknown[], string>)(whole);
    await Promise.all(shells.map((shell) => shell.settled()));
    await Promise.all(logged);
    return { given };
  } catch (error) {
    await Promise.allSettled(logged);
    return { error };
  } finally {
    await asker.close();
  }
}

const codeOf = (result: Returned): number => {
  if ("given" in result) return 0;
  return (isCommandError(result.error) && exitCodeOf(result.error.exit)) || exitCodes.failed;
};

const isInfrastructureError = (error: unknown): boolean =>
  error instanceof SortieError && errorCatalog[error.code].exitCode === exitCodes.infrastructure;

/** In one sentence, with the recipe's line. */
function describe(error: unknown, { recipe }: DriveOptions): string {
  if (isCommandError(error)) return error.message;
  if (error instanceof SortieError) return `${error.message} ${error.hint}`;
  if (!(error instanceof Error)) return `its function threw ${messageOf(error)}`;
  const at = ownFrame(error.stack ?? "", recipe);
  return `${error.name}: ${error.message}${at ? ` (${at.file}:${at.line}:${at.column})` : ""}`;
}

// Drives a plan to its end: places ready jobs on runners with free slots, dispatches them, settles what came out.
import PQueue from "p-queue";
import { SortieError } from "../protocol/errors.ts";
import type { RunId } from "../protocol/ids.ts";
import { dispatch } from "./dispatch.ts";
import type { JobOutcome, RunEvent, RunOutcome } from "./events.ts";
import type { KnownRunner } from "./fleet.ts";
import type { Plan, PlanJob } from "./plan.ts";
import { fits } from "./plan.ts";
import { Schedule } from "./schedule.ts";

/** Attempts of a job that the infrastructure failed. */
const MOST_ATTEMPTS = 3;
/** A full runner is asked again after this, doubled each time. */
const ASK_AGAIN_MS = 50;
const ASK_AGAIN_MOST_MS = 2_000;

export interface ExecuteOptions {
  readonly run: RunId;
  readonly plan: Plan;
  readonly runners: readonly KnownRunner[];
  readonly folder: string;
  /** Attempts under way at once, over all runners. */
  readonly jobs: number;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  readonly cancelled: AbortSignal;
}

interface Place {
  readonly runner: KnownRunner;
  free: number;
  /** Why it takes no more jobs of this run. */
  gone?: SortieError;
  /** Full, by somebody else's jobs: asked again when this timer ends. */
  pause?: NodeJS.Timeout | undefined;
  pauseMs: number;
}

/** Resolves with how the run came out, once nothing of it runs any more. Rejects with STORE_FAILED only. */
export async function execute(options: ExecuteOptions): Promise<RunOutcome> {
  const { plan, emit, cancelled } = options;
  const schedule = new Schedule(plan);
  const queue = new PQueue({ concurrency: options.jobs });
  const places = new Map<string, Place>(
    options.runners.map((runner) => [runner.id, { runner, free: runner.info.slots, pauseMs: ASK_AGAIN_MS }]),
  );
  const attempts = new Map<string, number>();
  const outcomes = new Set<JobOutcome>();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const stopping = new AbortController();
  const finished = Promise.withResolvers<void>();

  async function settle(
    job: PlanJob,
    outcome: JobOutcome,
    how: Omit<RunEvent & { type: "job-ended" }, "type" | "at" | "job" | "outcome">,
  ): Promise<void> {
    outcomes.add(outcome);
    const skipped = schedule.settle(job.name, outcome);
    await emit({ type: "job-ended", at: Date.now(), job: job.name, outcome, ...how });
    for (const { job: dependant, because } of skipped) {
      outcomes.add("skipped");
      await emit({
        type: "job-ended",
        at: Date.now(),
        job: dependant.name,
        outcome: "skipped",
        message: `${because} ${outcome === "failed" ? "failed" : `was ${outcome}`}`,
        durationMs: 0,
      });
    }
  }

  async function attempt(job: PlanJob, place: Place): Promise<void> {
    const number = (attempts.get(job.name) ?? 0) + 1;
    const result = await dispatch({
      run: options.run,
      job,
      attempt: number,
      runner: place.runner,
      folder: options.folder,
      emit,
      cancelled: stopping.signal,
    });
    place.free++;
    if (result.kind === "ended") {
      attempts.set(job.name, number);
      place.pauseMs = ASK_AGAIN_MS;
      const { kind: _, outcome, ...how } = result;
      if (outcome === "lost" && !result.exit && !stopping.signal.aborted) {
        // The connection went: whoever else fits may try, and this runner is not asked any more.
        place.gone ??= new SortieError("CONNECTION_LOST", result.message ?? "The connection was lost.");
        if (number < MOST_ATTEMPTS && someoneFits(job)) return schedule.requeue(job.name);
      }
      return settle(job, outcome, how);
    }
    await notTaken(job, place, result.error);
  }

  async function notTaken(job: PlanJob, place: Place, error: SortieError): Promise<void> {
    const cannot = (outcome: JobOutcome): Promise<void> =>
      settle(job, outcome, { message: `${error.message} ${error.hint}`, durationMs: 0 });
    if (stopping.signal.aborted) return cannot("cancelled");
    switch (error.code) {
      case "RUNNER_FULL":
        place.pause ??= setTimeout(() => {
          place.pause = undefined;
          void step();
        }, place.pauseMs);
        place.pauseMs = Math.min(place.pauseMs * 2, ASK_AGAIN_MOST_MS);
        return schedule.requeue(job.name);
      case "RUNNER_UNREACHABLE":
      case "RUNNER_DRAINING":
      case "CONNECTION_LOST":
      case "UNTRUSTED":
        if (!place.gone)
          await emit({
            type: "runner-unreachable",
            at: Date.now(),
            runner: place.runner.name,
            message: `${error.message} ${error.hint}`,
          });
        place.gone ??= error;
        return schedule.requeue(job.name);
      default:
        return cannot("lost");
    }
  }

  const someoneFits = (job: PlanJob): boolean =>
    [...places.values()].some((place) => !place.gone && fits(job.on, place.runner.info));

  async function step(): Promise<void> {
    try {
      const open = [...places.values()].filter((place) => !place.gone);
      for (const job of schedule.takeHopeless((on) => open.some((place) => fits(on, place.runner.info)))) {
        const gone = [...places.values()].find((place) => place.gone && fits(job.on, place.runner.info))?.gone;
        await settle(job, "lost", {
          message: `No runner is left that could take it. ${gone ? gone.message : ""}`.trim(),
          durationMs: 0,
        });
      }
      const states = open
        .filter((place) => !place.pause)
        .map(({ runner, free }) => ({ id: runner.id, name: runner.name, labels: runner.info.labels, free }));
      for (const { job, runner } of schedule.place(states)) {
        const place = places.get(runner) as Place;
        place.free--;
        queue.add(() => attempt(job, place)).then(step, fail);
      }
      if (schedule.settled && queue.size === 0 && queue.pending === 0) finished.resolve();
    } catch (error) {
      fail(error);
    }
  }

  /** Without its record the run cannot go on: what runs is cancelled, and then the failure is told. */
  function fail(error: unknown): void {
    failure.reject(error);
    stop("run");
  }

  function stop(by: "user" | "run"): void {
    if (stopping.signal.aborted) return;
    const never = schedule.stop();
    stopping.abort(by);
    void (async () => {
      for (const job of never) {
        outcomes.add("cancelled");
        await emit({
          type: "job-ended",
          at: Date.now(),
          job: job.name,
          outcome: "cancelled",
          message: "the run was cancelled before it started",
          durationMs: 0,
        });
      }
      await step();
    })().catch(() => {});
  }

  const onCancelled = (): void => stop("user");
  cancelled.addEventListener("abort", onCancelled, { once: true });
  if (cancelled.aborted) onCancelled();
  try {
    await step();
    await Promise.race([finished.promise, failure.promise]);
    if (cancelled.aborted) return "cancelled";
    if (outcomes.has("failed")) return "failed";
    if (outcomes.has("lost")) return "lost";
    return outcomes.has("cancelled") ? "cancelled" : "passed";
  } finally {
    cancelled.removeEventListener("abort", onCancelled);
    await queue.onIdle();
    for (const place of places.values()) clearTimeout(place.pause);
  }
}

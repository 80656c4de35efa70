// Drives a plan to its end: places ready jobs on runners with free slots, dispatches them, settles what came out.
import PQueue from "p-queue";
import { asSortieError, messageOf, SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { whyNotRun } from "./condition.ts";
import { type Dispatched, dispatch } from "./dispatch.ts";
import { drive } from "./drive.ts";
import type { JobOutcome, RunEvent, RunOutcome } from "./events.ts";
import type { Earlier, ExecuteOptions } from "./execute-options.ts";
import { fingerprintOfJob } from "./fingerprint.ts";
import { type BegunAttempt, LeftBehind } from "./left-behind.ts";
import { outputOfFunction, outputOfLog } from "./output.ts";
import { type Place, Places } from "./places.ts";
import { JobsElsewhere, type PlanJob, planMore } from "./plan.ts";
import { Questions } from "./questions.ts";
import { givesJobs } from "./recipe/recipe.ts";
import { Results } from "./results.ts";
import { Schedule, type Skip } from "./schedule.ts";
import { noSecrets } from "./secrets.ts";
import { logPath } from "./store/store.ts";
import { type HowTried, Tries } from "./tries.ts";
import { Waits } from "./waits.ts";

type How = Omit<RunEvent & { type: "job-ended" }, "type" | "at" | "job" | "outcome">;

const RUN_CANCELLED = "the run was cancelled before it started";

/** A job that an earlier process has settled, or begun. */
interface Taken {
  readonly job: PlanJob;
  readonly outcome: JobOutcome | undefined;
  readonly begun: BegunAttempt | undefined;
  /** It is not what it was. */
  readonly isOther: boolean;
}

/** Resolves with how the run came out, once nothing of it runs any more. Rejects with STORE_FAILED only. */
export async function execute(options: ExecuteOptions): Promise<RunOutcome> {
  const { cancelled, earlier, secrets = noSecrets() } = options;
  let { plan } = options;
  const schedule = new Schedule(
    plan,
    options.runners.map(({ id, info }) => ({ ...info, id })),
  );
  const results = new Results();
  const questions = new Questions(options.answers);
  results.watch(plan.jobs);
  const queue = new PQueue({ concurrency: options.jobs });
  const places = new Places(options.runners, { schedule, emit, changed: () => void step() });
  const tries = new Tries(earlier);
  const outcomes = new Set<JobOutcome>();
  const failure = Promise.withResolvers<never>();
  failure.promise.catch(() => {});
  const stopping = new AbortController();
  /** Of jobs that run always too. */
  const hurrying = new AbortController();
  const stoppingOf = (job: PlanJob): AbortSignal => (job.always ? hurrying : stopping).signal;
  /** Lets go of what runs without ending it: the run can be resumed. */
  const abandoning = new AbortController();
  const cancels = new Map<JobName, AbortController>();
  /** Placed, and not asked for yet: they wait for their turn among `jobs`, or for what their `if` says. */
  const queued = new Map<JobName, PlanJob>();
  const finished = Promise.withResolvers<void>();

  const waits = new Waits({
    run: options.run,
    claims: options.claims,
    emit,
    admit: (name) => schedule.admit(name),
    late,
    cancel: cancelJob,
    failed: fail,
    changed: () => void step(),
  });
  const left = new LeftBehind({
    run: options.run,
    folder: options.folder,
    secrets,
    begun: earlier?.begun ?? new Map(),
    emit,
    knows: (name) => schedule.job(name) !== undefined,
    over(name) {
      schedule.release(name);
      void step();
    },
    cancelled: stopping.signal,
    abandoned: abandoning.signal,
  });
  /** Jobs that waited too long while they were on their way to a runner. */
  const tooLate = new Map<JobName, string>();

  function emit(event: RunEvent): void | Promise<void> {
    if (event.type === "job-started") {
      results.started(event.job);
      waits.started(event.job);
      tooLate.delete(event.job);
    }
    if (event.type === "job-output") results.wrote(event.job, event.stream, event.bytes);
    return options.emit(event);
  }

  async function settle(job: PlanJob, outcome: JobOutcome, how: How): Promise<void> {
    queued.delete(job.name);
    results.ended(job.name, outcome, how);
    const allowed = outcome === "failed" && job.allowFailure === true;
    if (!allowed) outcomes.add(outcome);
    const skipped = schedule.settle(job.name, outcome);
    left.leave(job.name);
    waits.over(job);
    await emit({ type: "job-ended", at: Date.now(), job: job.name, outcome, ...(allowed ? { allowed } : {}), ...how });
    await skip(skipped);
    if (options.failFast && !allowed && (outcome === "failed" || outcome === "lost") && !stopping.signal.aborted) {
      await emit({ type: "run-cancelling", at: Date.now(), message: `cancelling: ${job.name} ${outcome}` });
      stop("run");
    }
  }

  /** Jobs that will not run, each with the one that decided that. */
  async function skip(skipped: readonly Skip[]): Promise<void> {
    for (const { job, because } of skipped) {
      outcomes.add("skipped");
      results.ended(job.name, "skipped", { durationMs: 0 });
      const outcome = results.outcomeOf(because);
      const message = `${because} ${outcome === "failed" ? "failed" : `was ${outcome ?? "left out"}`}`;
      await emit({ type: "job-ended", at: Date.now(), job: job.name, outcome: "skipped", message, durationMs: 0 });
    }
  }

  const contextOf = (job: PlanJob) => ({ needs: results.of(job.sees), env: process.env, params: options.params });

  const whyNot = (job: PlanJob) => whyNotRun(job, contextOf(job));

  async function attempt(job: PlanJob, place: Place, also: readonly Place[], begun?: BegunAttempt): Promise<void> {
    const stopped = (): { outcome: JobOutcome; message: string } | undefined =>
      !begun && stoppingOf(job).aborted ? { outcome: "cancelled", message: RUN_CANCELLED } : undefined;
    // It waited too long for its turn, or was cancelled.
    if (schedule.isSettled(job.name)) return;
    const asking = begun || stopped() ? undefined : whyNot(job);
    const answer = asking instanceof Promise ? await asking : asking;
    // Or meanwhile.
    if (schedule.isSettled(job.name)) return;
    const not = stopped() ?? answer;
    if (not) {
      schedule.release(job.name);
      return settle(job, not.outcome, { message: not.message, durationMs: 0 });
    }
    const number = tries.number(job.name, begun !== undefined);
    const cancel = new AbortController();
    cancels.set(job.name, cancel);
    queued.delete(job.name);
    const asked = {
      run: options.run,
      job,
      attempt: number,
      begun: begun?.attemptId,
      runner: place.runner,
      folder: options.folder,
      secrets,
      emit(event: RunEvent) {
        if (event.type === "job-started") for (const one of [place, ...also]) places.answered(one);
        return emit(event);
      },
      cancelled: AbortSignal.any([stoppingOf(job), cancel.signal]),
      abandoned: abandoning.signal,
    };
    const context = contextOf(job);
    const others = also.map(({ runner }) => runner);
    const result = await (begun
      ? (left.result(job.name, asked.cancelled) ?? dispatch(asked))
      : job.drive
        ? drive({ ...asked, recipe: plan.recipe, context, questions, also: others })
        : dispatch(asked)
    ).finally(() => cancels.delete(job.name));
    schedule.release(job.name);
    if (result.kind === "ended") {
      places.answered(place);
      const { outcome, how } = await cameOut(job, result);
      const wanted = !stoppingOf(job).aborted && !cancel.signal.aborted;
      // Its function ended with its coordinator, which says nothing of it or of its runner.
      const interrupted = begun?.driven === true;
      tries.ended(job.name, number, outcome, !interrupted);
      if (!wanted) return settle(job, interrupted ? "cancelled" : outcome, how);
      // Whoever else fits may try; a runner that is gone is not asked any more.
      if (outcome === "lost" && result.runnerGone)
        places.lose(place, new SortieError("CONNECTION_LOST", result.message ?? "The connection was lost."));
      const delayMs = tries.pauseMs(job, outcome, how.exit);
      if (delayMs === undefined || (outcome === "lost" && !schedule.serves(job))) return settle(job, outcome, how);
      const why = interrupted && outcome === "lost" ? { interrupted } : {};
      return tryAgain(job, { ...how, attempt: number, outcome: outcome as HowTried["outcome"], delayMs, ...why });
    }
    if (begun) tries.notMade(job.name, number);
    if (cancel.signal.aborted)
      return settle(job, "cancelled", { message: "it was cancelled before it started", durationMs: 0 });
    await notTaken(job, also.find(({ runner }) => runner.id === result.runnerId) ?? place, result.error);
  }

  /** A job that passed may have an output for others, or have given jobs: only then it has passed indeed. */
  async function cameOut(
    job: PlanJob,
    { kind: _, outcome, runnerGone: __, attemptId, given, ...how }: Dispatched & { readonly kind: "ended" },
  ): Promise<{ outcome: JobOutcome; how: How }> {
    if (outcome !== "passed" || (!job.output && !job.drive)) return { outcome, how };
    if (given instanceof JobsElsewhere || givesJobs(given)) {
      if (stopping.signal.aborted)
        return { outcome: "cancelled", how: { ...how, message: "the run was cancelled before the jobs that it gave" } };
      try {
        await join(job, given);
        return { outcome, how };
      } catch (error) {
        if (asSortieError(error).code === "STORE_FAILED") throw error;
        return { outcome: "failed", how: { ...how, message: messageOf(error) } };
      }
    }
    if (job.output && how.gap !== undefined)
      return { outcome: "failed", how: { ...how, message: `its output is not whole: ${how.gap}` } };
    const output = job.output
      ? await outputOfLog(job.output, logPath(options.folder, options.run, attemptId))
      : outputOfFunction(given);
    if ("problem" in output) return { outcome: "failed", how: { ...how, message: output.problem } };
    // What others get of it is what the record has, so that a run that goes on has the same.
    const value = secrets.redaction ? secrets.redaction.value(output.value) : output.value;
    return { outcome, how: value === undefined ? how : { ...how, output: value } };
  }

  /** The jobs that a job gave become part of the run. */
  async function join(by: PlanJob, given: unknown): Promise<void> {
    await options.prepare?.(planMore(plan, by, given).jobs);
    // Others may have joined meanwhile; from here on nothing is waited for.
    const planned = planMore(plan, by, given);
    const more = { ...planned, jobs: options.admit?.(planned.jobs) ?? planned.jobs };
    plan = { ...plan, jobs: [...plan.jobs, ...more.jobs], names: more.names };
    results.watch(more.jobs);
    results.gave(by.name, more.given);
    const skipped = schedule.join(more.jobs, by.name);
    const fingerprints = new Map(planned.jobs.map((job) => [job.name, fingerprintOfJob(job)]));
    // Before anything is waited for, so that none of them is placed meanwhile.
    const taken = earlier && take(more.jobs, earlier.given, earlier, fingerprints);
    const told = more.jobs.map(({ name, needs, at }) => {
      const fingerprint = fingerprints.get(name) as string;
      return { name, needs, fingerprint, ...(at ? { location: at } : {}) };
    });
    await emit({ type: "jobs-joined", at: Date.now(), by: by.name, jobs: told });
    await skip(skipped);
    if (taken) await goOn(taken, earlier);
  }

  /** After the pause the job stands where it stood; meanwhile others have its slot. */
  async function tryAgain(job: PlanJob, how: HowTried): Promise<void> {
    const { delayMs } = how;
    if (delayMs > 0) tries.wait(job.name, how, () => void requeue(job).then(step, fail));
    await emit({ type: "job-retrying", at: Date.now(), job: job.name, ...how });
    if (delayMs === 0) await requeue(job);
  }

  /** It waits again: for a runner, or first for what it needs, where that runs once more in a run that is gone on with. */
  async function requeue(job: PlanJob): Promise<void> {
    const skipped = schedule.requeue(job.name);
    // What it needs may ask for the same group.
    if (!schedule.isReady(job.name)) waits.over(job);
    await skip(skipped);
  }

  /** A job that waits to be tried again does not any more. */
  async function giveUp(name: JobName, message: string): Promise<void> {
    const how = tries.stopWaiting(name);
    const job = how && schedule.job(name);
    if (job) await settle(job, "cancelled", { message, durationMs: how.durationMs });
  }

  async function notTaken(job: PlanJob, place: Place, error: SortieError): Promise<void> {
    const cannot = (outcome: JobOutcome): Promise<void> =>
      settle(job, outcome, { message: `${error.message} ${error.hint}`, durationMs: 0 });
    if (stoppingOf(job).aborted) return cannot("cancelled");
    const message = tooLate.get(job.name);
    if (message !== undefined) return settle(job, "lost", { message, durationMs: 0 });
    // What one runner was not told to allow, another one may be; secrets go to one runner and no other.
    if (error.code === "DENIED" && !job.also?.length && !job.secrets?.length) {
      if (!tries.denied(job.name, `${error.message} ${error.hint}`))
        return settle(job, "lost", { message: tries.whyDenied(job.name) ?? error.message, durationMs: 0 });
      schedule.avoid(job.name, place.runner.id);
      return requeue(job);
    }
    // It never reached its runner before the earlier coordinator ended.
    if (error.code === "NOT_FOUND" || (await places.refused(place, error))) return requeue(job);
    return cannot("lost");
  }

  async function step(): Promise<void> {
    if (abandoning.signal.aborted) return;
    try {
      for (let job = schedule.takeHopeless(); job; job = schedule.takeHopeless()) {
        const { on } = job;
        const not = await whyNot(job);
        if (not) {
          await settle(job, not.outcome, { message: not.message, durationMs: 0 });
          continue;
        }
        const gone = places.goneFor(on);
        const why = tries.whyDenied(job.name) ?? "No runner is left that could take it.";
        await settle(job, "lost", { message: `${why} ${gone ? gone.message : ""}`.trim(), durationMs: 0 });
      }
      for (let job = schedule.takeDelayed(); job; job = schedule.takeDelayed()) await waits.ready(job);
      for (const { job, runner, also = [] } of schedule.place()) {
        const [place, ...others] = [runner, ...also].map((id) => places.get(id)) as [Place, ...Place[]];
        queued.set(job.name, job);
        queue.add(() => attempt(job, place, others)).then(step, fail);
      }
      if (schedule.settled && queue.size === 0 && queue.pending === 0) finished.resolve();
    } catch (error) {
      fail(error);
    }
  }

  /** Without its record the run cannot go on, but it can be resumed: what runs is left alone, and the failure told. */
  function fail(error: unknown): void {
    failure.reject(error);
    abandoning.abort(error);
    schedule.stop(true);
    waits.close();
    tries.close();
  }

  function cancelJob(name: JobName): void {
    const cancel = cancels.get(name);
    if (cancel) return cancel.abort("user");
    if (left.cancel(name)) return;
    if (tries.isWaiting(name)) {
      void giveUp(name, "it was cancelled before it was tried again").then(step, fail);
      return;
    }
    const job = schedule.take(name) ?? queued.get(name);
    if (job)
      void settle(job, "cancelled", { message: "it was cancelled before it started", durationMs: 0 }).then(step, fail);
  }

  /** Before a runner has begun it. One that is on its way to a runner ends once that has not taken it. */
  function late(job: PlanJob, message: string): void {
    tooLate.set(job.name, message);
    if (cancels.has(job.name)) return;
    schedule.take(job.name);
    void settle(job, "lost", { message, durationMs: 0 }).then(step, fail);
  }

  /** Takes those of the jobs that the earlier process has settled or begun, so that nothing else becomes of them. */
  function take(
    among: readonly PlanJob[],
    known: ReadonlyMap<JobName, JobOutcome>,
    { fingerprints, begun }: Earlier,
    now?: ReadonlyMap<JobName, string>,
  ): readonly Taken[] {
    return among.flatMap((job): Taken[] => {
      const { name } = job;
      const outcome = known.get(name);
      const under = begun.get(name);
      if (!outcome && !under) return [];
      const before = fingerprints.get(name);
      const isOther = now !== undefined && before !== undefined && before !== now.get(name);
      if (isOther) {
        tries.forget(name);
        if (!under) return [];
      }
      const slots = under && !left.isOver(name) ? [under.runner.id] : [];
      if (!schedule.take(name, slots)) return [];
      if (under && !isOther) left.claim(job);
      return [{ job, outcome, begun: under, isOther }];
    });
  }

  /** Goes on with what the earlier process left of these. */
  async function goOn(taken: readonly Taken[], { results: knownResults }: Earlier): Promise<void> {
    for (const { job, outcome } of taken) {
      if (!outcome) continue;
      const { name, allowFailure } = job;
      if (!(outcome === "failed" && allowFailure)) outcomes.add(outcome);
      results.ended(name, outcome, knownResults.get(name) ?? { durationMs: 0 });
      await skip(schedule.settle(name, outcome));
    }
    for (const { job, begun, isOther } of taken) {
      if (!begun) continue;
      if (isOther) {
        queue.add(() => beginAnew(job)).then(step, fail);
        continue;
      }
      waits.runs(job);
      const { attemptId, attempt: number, runner, startedAt: at } = begun;
      await emit({ type: "job-started", at, job: job.name, attempt: number, attemptId, runner: runner.name });
      const place = places.of(runner);
      queue.add(() => attempt(job, place, [], begun)).then(step, fail);
    }
  }

  /** What runs under its name is another job. */
  async function beginAnew(job: PlanJob): Promise<void> {
    await left.drop(job.name);
    await requeue(job);
  }

  function stop(by: "user" | "run"): void {
    if (stopping.signal.aborted) return;
    const never = schedule.stop();
    stopping.abort(by);
    void (async () => {
      for (const { name, always } of plan.jobs)
        if (!always) await giveUp(name, "the run was cancelled before it was tried again");
      for (const job of never) {
        waits.over(job);
        outcomes.add("cancelled");
        await emit({
          type: "job-ended",
          at: Date.now(),
          job: job.name,
          outcome: "cancelled",
          message: RUN_CANCELLED,
          durationMs: 0,
        });
      }
      await step();
    })().catch(() => {});
  }

  function hurry(): boolean {
    hurrying.abort("user");
    return plan.jobs.some(({ name, always }) => always && cancels.has(name));
  }

  const onCancelled = (): void => stop("user");
  cancelled.addEventListener("abort", onCancelled, { once: true });
  if (cancelled.aborted) onCancelled();
  options.onCancellable?.(cancelJob);
  options.onHurried?.(hurry);
  try {
    for (const { job, runner } of left.begin()) schedule.hold(job, runner);
    if (earlier) await goOn(take(plan.jobs, earlier.outcomes, earlier), earlier);
    await step();
    await Promise.race([finished.promise, failure.promise]);
    await left.close();
    if (cancelled.aborted) return "cancelled";
    if (outcomes.has("failed")) return "failed";
    if (outcomes.has("lost")) return "lost";
    return outcomes.has("cancelled") ? "cancelled" : "passed";
  } finally {
    cancelled.removeEventListener("abort", onCancelled);
    await queue.onIdle();
    await left.close();
    waits.close();
    places.close();
    tries.close();
  }
}

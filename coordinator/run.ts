// READ FIRST: the whole way of a run. recipe -> plan -> runners -> schedule -> dispatch; what happens is told as
// events, which the store records and a view shows. resume.ts finds out what an earlier process did of it.
import { setTimeout as delay } from "node:timers/promises";
import { homeOf } from "../protocol/home.ts";
import { newRunId, type RunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { type Answers, checkAnswers } from "./answers.ts";
import { askOn } from "./ask-on.ts";
import { listenForCancels } from "./cancels.ts";
import { endPlaces } from "./end-places.ts";
import type { EventReader, RunEvent, RunOutcome } from "./events.ts";
import { execute } from "./execute.ts";
import { openFleet } from "./fleet.ts";
import { gather } from "./gather.ts";
import { earlierOfKept } from "./keep.ts";
import { notifications } from "./notify.ts";
import type { Plan } from "./plan.ts";
import { type Asked, prepare, prepareAgain } from "./prepare.ts";
import { earlierOf, linkOf, type Resumed } from "./resume.ts";
import { keptEvent, resumedEvent, startedEvent } from "./run-events.ts";
import { secretValues } from "./secrets.ts";
import { checkSelectors } from "./selectors.ts";
import { checkStdin } from "./stdin-source.ts";
import { openStore } from "./store/store.ts";
import { chooseView, combine, type Format } from "./views/index.ts";

export interface RunOptions extends Asked {
  readonly format: Format;
  /** Attempts under way at once, over all runners; default: as many as there are slots. */
  readonly jobs: number | undefined;
  /** Cancel the rest once a job failed; default: whatever does not need that job goes on. */
  readonly failFast?: boolean;
  /** To what jobs ask, given beforehand. */
  readonly answers: Answers;
  /** Use the embedded runner although others are known. */
  readonly local: boolean;
  /** A runner of which nothing is heard for so long is looked for anew; milliseconds. */
  readonly silenceMs: number;
  /** Aborted by the first Ctrl-C. */
  readonly cancelled: AbortSignal;
  /**
   * Given the function that ends what this process itself started, at once, and tells runners to cancel jobs that go on
   * although the run was cancelled: for the second Ctrl-C. What it gives is waited for.
   */
  readonly onKillable: (kill: () => Promise<void> | undefined) => void;
  /** Once it is known what is to run; also of a run that then cannot begin. */
  readonly onPlanned?: (plan: Plan) => void;
  /** Once the run is on record. */
  readonly onStarted?: (run: RunId) => void;
  /** Readers beside the view; closed after it. */
  readonly reports?: readonly EventReader[];
  /** The run that is gone on with. */
  readonly resumed?: Resumed;
}

/** Runs a recipe to its end. Rejects with a SortieError where it could not begin, or could not be recorded. */
export async function runRecipe(options: RunOptions): Promise<RunOutcome> {
  const folder = homeOf("coordinator");
  const { resumed } = options;
  const prepared = await (resumed
    ? prepareAgain(resumed, options.cancelled)
    : prepare(options, folder, options.cancelled));
  const { plan, kept } = prepared;
  options.onPlanned?.(plan);
  const over = new Set(resumed?.jobs.flatMap(({ name, outcome }) => (outcome === null ? [] : [name])));
  const left = plan.jobs.filter(({ name }) => !kept.has(name) && !over.has(name));
  const { notify } = prepared.loaded.recipe;
  /** Values that views keep to themselves: those of jobs that join the run come in later. */
  const secrets = new Set(secretValues([...left, { name: "notify", notify }], process.env));
  checkAnswers(options.answers, prepared.whole);
  const fleet = openFleet(folder, options.silenceMs);
  let hurry = (): boolean => false;
  options.onKillable(() => {
    const goesOn = hurry();
    fleet.killEmbedded();
    return goesOn ? delay(limits.closeMs) : undefined;
  });
  try {
    const { runners, unreachable } = await gather(fleet, options.local || resumed?.local === true, plan);
    // A runner that does not answer may be what a job asks for: that job is then lost, not wrong.
    if (unreachable.length === 0)
      checkSelectors(
        { jobs: left },
        runners.map((runner) => runner.info),
      );
    const store = openStore(folder);
    const readers = combine([
      store.reader(resumed?.begun.map(({ job, id }) => [job, id])),
      await chooseView(options.format, process.stdout, folder, secrets),
      ...(options.reports ?? []),
    ]);
    const run = resumed?.run ?? newRunId();
    const known = resumed?.jobs.flatMap(({ name: job, outcome }) => (outcome === null ? [] : [{ job, outcome }])) ?? [];
    const told = notifications({ run, recipe: plan.recipe, notify, known, emit });
    told.add(plan.jobs);
    function emit(event: RunEvent): void | Promise<void> {
      told.on(event);
      return readers.on(event);
    }
    const startedAt = resumed?.startedAt ?? Date.now();
    const { signal: cancelled, stop, cancelsJobs } = listenForCancels(store, run, options.cancelled);
    const given = endPlaces(store, resumed ? store.places(run) : [], (place) => linkOf(fleet, runners, place));
    try {
      await emit(resumed ? resumedEvent(run, prepared) : startedEvent(run, startedAt, prepared));
      options.onStarted?.(run);
      for (const [job, by] of kept) await emit(keptEvent(job, by, startedAt, prepared.results.get(job)));
      for (const runner of runners)
        await emit({ type: "runner-connected", at: Date.now(), runner: runner.name, slots: runner.info.slots });
      for (const { name, message } of unreachable)
        await emit({ type: "runner-unreachable", at: Date.now(), runner: name, message });
      const message = "cancelling: waiting for the jobs to end (Ctrl-C again leaves at once)";
      const tellCancelling = (): void => void emit({ type: "run-cancelling", at: Date.now(), message });
      cancelled.addEventListener("abort", tellCancelling, { once: true });
      const slots = runners.reduce((sum, runner) => sum + runner.info.slots, 0);
      const outcome = await execute({
        run,
        plan: { ...plan, names: prepared.whole.names, source: prepared.loaded.source },
        params: prepared.loaded.values,
        runners,
        folder,
        claims: store.claims,
        jobs: options.jobs ?? Math.max(1, slots),
        failFast: options.failFast ?? false,
        emit,
        answers: options.answers,
        cancelled,
        admit(given) {
          const { jobs } = askOn({ recipe: plan.recipe, jobs: given }, prepared.on);
          checkStdin(jobs);
          for (const value of secretValues(jobs, process.env)) secrets.add(value);
          told.add(jobs);
          return jobs;
        },
        onCancellable: cancelsJobs,
        onHurried: (how) => {
          hurry = how;
        },
        ...(resumed ? { earlier: earlierOf(resumed, fleet, runners) } : {}),
        ...(kept.size > 0 ? { earlier: earlierOfKept(prepared) } : {}),
      });
      const durationMs = Date.now() - startedAt;
      await told.finish(outcome, durationMs);
      await emit({ type: "run-ended", at: Date.now(), run, outcome, durationMs });
      return outcome;
    } finally {
      await given;
      stop();
      await readers.close();
      store.close();
    }
  } finally {
    await fleet.close();
  }
}

// READ FIRST: the whole way of a run. recipe -> plan -> runners -> schedule -> dispatch; what happens is told as
// events, which the store records and a view shows.
import { availableParallelism } from "node:os";
import { SortieError } from "../protocol/errors.ts";
import { homeOf } from "../protocol/home.ts";
import { newRunId } from "../protocol/ids.ts";
import type { RunEvent, RunOutcome } from "./events.ts";
import { execute } from "./execute.ts";
import { type Fleet, type KnownRunner, openFleet } from "./fleet.ts";
import { checkSelectors, type Plan, planOf } from "./plan.ts";
import { loadRecipe } from "./recipe/loader.ts";
import { openStore } from "./store/store.ts";
import { chooseView, combine, type Format } from "./views/index.ts";

export interface RunOptions {
  readonly recipe: string;
  readonly format: Format;
  /** Attempts under way at once, over all runners; default: as many as there are slots. */
  readonly jobs: number | undefined;
  /** Use the embedded runner although others are known. */
  readonly local: boolean;
  /** Aborted by the first Ctrl-C. */
  readonly cancelled: AbortSignal;
  /** Given the function that ends what this process itself started, at once: for the second Ctrl-C. */
  readonly onKillable: (kill: () => void) => void;
}

/** Runs a recipe to its end. Rejects with a SortieError where it could not begin, or could not be recorded. */
export async function runRecipe(options: RunOptions): Promise<RunOutcome> {
  const folder = homeOf("coordinator");
  const plan = planOf(await loadRecipe(options.recipe));
  const fleet = openFleet(folder);
  options.onKillable(fleet.killEmbedded);
  try {
    const { runners, unreachable } = await gather(fleet, options.local);
    if (unreachable.length === 0)
      checkSelectors(
        plan,
        runners.map((runner) => runner.info),
      );
    else checkSelectors(plan, [...runners.map((runner) => runner.info), ...standIns(plan)]);
    const store = openStore(folder);
    const readers = combine([store.reader(), await chooseView(options.format)]);
    const emit = (event: RunEvent): void | Promise<void> => readers.on(event);
    const run = newRunId();
    const startedAt = Date.now();
    try {
      await emit({
        type: "run-started",
        at: startedAt,
        run,
        recipe: plan.recipe,
        jobs: plan.jobs.map(({ name, needs }) => ({ name, needs })),
      });
      for (const runner of runners)
        await emit({ type: "runner-connected", at: Date.now(), runner: runner.name, slots: runner.info.slots });
      for (const { name, message } of unreachable)
        await emit({ type: "runner-unreachable", at: Date.now(), runner: name, message });
      options.cancelled.addEventListener(
        "abort",
        () =>
          void emit({
            type: "run-cancelling",
            at: Date.now(),
            message: "cancelling: waiting for the jobs to end (Ctrl-C again leaves at once)",
          }),
        { once: true },
      );
      const slots = runners.reduce((sum, runner) => sum + runner.info.slots, 0);
      const outcome = await execute({
        run,
        plan,
        runners,
        folder,
        jobs: options.jobs ?? Math.max(1, slots),
        emit,
        cancelled: options.cancelled,
      });
      await emit({ type: "run-ended", at: Date.now(), run, outcome, durationMs: Date.now() - startedAt });
      return outcome;
    } finally {
      await readers.close();
      store.close();
    }
  } finally {
    await fleet.close();
  }
}

/** The runners that answer; the embedded one when none is known. */
async function gather(
  fleet: Fleet,
  local: boolean,
): Promise<{ runners: KnownRunner[]; unreachable: { name: string; message: string }[] }> {
  if (local || fleet.trust.list().length === 0)
    return { runners: [await fleet.embedded(availableParallelism())], unreachable: [] };
  const reached = await fleet.reachAll();
  const runners = reached.flatMap((one) => ("runner" in one ? [one.runner] : []));
  const unreachable = reached.flatMap((one) =>
    "error" in one ? [{ name: one.pin.name, message: `${one.error.message} ${one.error.hint}` }] : [],
  );
  if (runners.length > 0) return { runners, unreachable };
  throw new SortieError(
    "NO_RUNNER",
    `None of the known runners answers: ${unreachable.map(({ message }) => message).join("; ")}`,
    { hint: "Start one of them, remove them with `coordinator trust remove NAME`, or run here with --local." },
  );
}

/** A runner that does not answer may be what a job asks for: that job is then lost, not wrong. */
const standIns = (plan: Plan) => plan.jobs.map((job) => ({ name: job.on.runner ?? "", labels: job.on.labels }));

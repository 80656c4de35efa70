// `--from JOB` and `--after RUN`: a run that goes on from an earlier one of the same recipe. Jobs that passed there are
// kept, unless they are to be run again or need one that is. prepare.ts calls it.
import { SortieError } from "../protocol/errors.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import type { Earlier } from "./execute-options.ts";
import { fingerprintOfJob } from "./fingerprint.ts";
import type { KnownResult } from "./known-result.ts";
import type { Plan } from "./plan.ts";
import { namedIn } from "./select.ts";
import type { JobRow, RunRow } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

/** Jobs that are not run, the run in which each of them passed, and what that knows of them. */
export interface KeptJobs {
  readonly kept: ReadonlyMap<JobName, RunId>;
  readonly results: ReadonlyMap<JobName, KnownResult>;
}

export interface EarlierRun {
  readonly row: RunRow;
  readonly jobs: readonly JobRow[];
}

/** The run that was named, or the latest of the recipe that is over. Throws NOT_FOUND, AMBIGUOUS, RUN_LIVES and USAGE. */
export function findEarlier(store: Store, recipe: string, after: string | undefined): EarlierRun {
  const row = after === undefined ? store.lastRunOf(recipe) : store.findRun(after);
  if (!row)
    throw new SortieError("NOT_FOUND", `There is no run of ${recipe} that is over.`, {
      hint: "Run it without --from first.",
    });
  if (row.recipe !== recipe)
    throw new SortieError("USAGE", `The run ${row.id} is of ${row.recipe}, not of ${recipe}.`, {
      hint: "`coordinator runs` lists them.",
    });
  if (row.state === "running") throw new SortieError("RUN_LIVES", `The run ${row.id} is not over.`);
  if (row.state === "interrupted")
    throw new SortieError("USAGE", `The run ${row.id} is not over: its coordinator is gone.`, {
      hint: `\`coordinator resume ${row.id}\` goes on with it.`,
    });
  return { row, jobs: store.jobs(row.id) };
}

/**
 * Jobs of the plan that are not run, and the run in which each of them passed. Throws USAGE for a name in `from` that the
 * plan does not have, and RECIPE_CHANGED where a job to be kept is not what it was. `whole` is the recipe's own plan.
 */
export function keptOf(
  plan: Plan,
  whole: Plan,
  { row, jobs }: EarlierRun,
  from: readonly string[],
): Map<JobName, RunId> {
  const passed = new Map(jobs.filter(({ outcome }) => outcome === "passed").map((job) => [job.name, job]));
  const again = namedIn(plan)(from);
  const kept = new Map<JobName, RunId>();
  const described = new Map(whole.jobs.map((job) => [job.name, job]));
  /** Jobs that a function gave are known once it has run. */
  const givers = new Set(jobs.map(({ givenBy }) => givenBy));
  // In the plan's order what a job needs is decided before the job.
  for (const { name, needs, at } of plan.jobs) {
    const before = passed.get(name);
    if (again.has(name) || !before || givers.has(name) || needs.some((need) => !kept.has(need))) continue;
    const now = described.get(name);
    if (!now || fingerprintOfJob(now) !== before.fingerprint)
      throw new SortieError("RECIPE_CHANGED", `${name} is not what it was in the run ${row.id}, where it passed.`, {
        hint: `Run it again with --from ${name}, or run everything anew.`,
        ...(at ? { at } : {}),
      });
    kept.set(name, before.kept ?? row.id);
  }
  return kept;
}

/** For whoever executes the plan: they passed. */
export const earlierOfKept = ({ kept, results }: KeptJobs): Earlier => ({
  outcomes: new Map([...kept.keys()].map((name) => [name, "passed" as const])),
  given: new Map(),
  results,
  attempts: new Map(),
  failures: new Map(),
  losses: new Map(),
  fingerprints: new Map(),
  begun: new Map(),
});

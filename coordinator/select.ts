// Which jobs of a plan a command asked for. Pure: a plan becomes a smaller plan.
import * as v from "valibot";
import { closest } from "../protocol/closest.ts";
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import type { Plan, PlanJob } from "./plan.ts";

export const Selection = v.strictObject({
  /** These, and what they need; all where none is named. */
  jobs: v.optional(v.array(v.string())),
  /** These alone, without what they need. */
  only: v.optional(v.array(v.string())),
  /** Without these; what needs them runs as if they had passed. */
  skip: v.optional(v.array(v.string())),
});
export type Selection = v.InferOutput<typeof Selection>;

/** Whether it names a job at all. */
export const isSelective = ({ jobs = [], only = [], skip = [] }: Selection): boolean =>
  jobs.length + only.length + skip.length > 0;

/** Jobs named in an error. */
const MOST_NAMED = 20;

/** Throws USAGE for a name that the plan does not have, and where nothing is left. */
export function selectJobs(plan: Plan, selection: Selection): Plan {
  if (!isSelective(selection)) return plan;
  const { jobs = [], only = [], skip = [] } = selection;
  if (jobs.length > 0 && only.length > 0)
    throw new SortieError("USAGE", "Jobs are named and --only is given: one of them is enough.", {
      hint: "--only leaves out what its jobs need; jobs that are named bring it.",
    });
  const named = namedIn(plan);
  const left = named(skip);
  const wanted = jobs.length > 0 ? withNeeds(plan, named(jobs)) : named(only);
  const kept = new Set(
    plan.jobs.map(({ name }) => name).filter((name) => (wanted.size === 0 || wanted.has(name)) && !left.has(name)),
  );
  if (kept.size === 0) throw new SortieError("USAGE", "No job is left to run.");
  return restrictTo(plan, kept);
}

/** The plan of these jobs alone. Whoever needs a job that is left out needs what that needs: their order stays. */
export function restrictTo(plan: Plan, kept: ReadonlySet<JobName>): Plan {
  if (plan.jobs.every(({ name }) => kept.has(name))) return plan;
  /** What stands for a need: itself, or what a job that is left out needs. In the plan's order, so each is there. */
  const stand = new Map<JobName, readonly JobName[]>();
  const jobs: PlanJob[] = [];
  for (const job of plan.jobs) {
    const needs = [...new Set(job.needs.flatMap((need) => stand.get(need) ?? []))];
    stand.set(job.name, kept.has(job.name) ? [job.name] : needs);
    if (kept.has(job.name)) jobs.push({ ...job, needs });
  }
  return { ...plan, jobs };
}

function withNeeds(plan: Plan, named: ReadonlySet<JobName>): Set<JobName> {
  const kept = new Set(named);
  // Backwards, a job comes before what it needs.
  for (const job of plan.jobs.toReversed()) if (kept.has(job.name)) for (const need of job.needs) kept.add(need);
  return kept;
}

/** Throws USAGE for a name that the plan does not have. */
export function namedIn(plan: Plan): (texts: readonly string[]) => Set<JobName> {
  const names = new Map<string, JobName>(plan.jobs.map(({ name }) => [name, name]));
  return (texts) =>
    new Set(
      texts.map((text) => {
        const name = names.get(text);
        if (name !== undefined) return name;
        const all = [...names.keys()];
        const near = closest(text, all);
        throw new SortieError(
          "USAGE",
          `The recipe has no job ${JSON.stringify(text)}; it has ${all.slice(0, MOST_NAMED).join(", ")}${all.length > MOST_NAMED ? ", …" : ""}.`,
          near === undefined ? {} : { hint: `Did you mean ${near}?` },
        );
      }),
    );
}

// recipe -> graph of jobs. Pure: no I/O, no clock. Jobs that a job's function gives while the run goes on come in by
// planMore().
import * as v from "valibot";
import { SortieError } from "../protocol/errors.ts";
import { JobName } from "../protocol/ids.ts";
import { failAt, type PlanJob, planJob, type SeenNeed } from "./plan-job.ts";
import { isMatrix, type Job } from "./recipe/job.ts";
import type { LoadedRecipe } from "./recipe/loader.ts";
import { checkedJobs, type Jobs } from "./recipe/recipe.ts";
import { isRecipeError } from "./recipe/recipe-error.ts";

export type { PlanJob, PlanPlace, SeenNeed } from "./plan-job.ts";

/** Jobs in an order in which every job stands after those it needs. */
export interface Plan {
  readonly recipe: string;
  readonly jobs: readonly PlanJob[];
}

/** Names of a recipe's jobs, also of those that a command left out of the plan. */
export type JobNames = ReadonlyMap<Job, JobName>;

/** Throws RECIPE_INVALID or RECIPE_CYCLE, pointing at the job's own line. */
export function planOf({
  path,
  recipe,
  source,
}: Pick<LoadedRecipe, "path" | "recipe" | "source">): Plan & { readonly names: JobNames } {
  const entries = Object.entries(recipe.jobs);
  if (entries.length === 0)
    throw new SortieError("RECIPE_INVALID", "The recipe has no jobs.", {
      at: recipe.location ?? { file: path, line: 1 },
    });
  const names = new Map<Job, JobName>();
  for (const [name, job] of entries) nameJob(names, name, job, path);
  const jobs = entries.map(([, job]) => planJob(job, { names, path, source }));
  return { recipe: path, jobs: inOrder(jobs), names };
}

/**
 * The plan's jobs that a function of one of them gave, `given`, under its name and theirs, `discover.web`. They need that job.
 * Whatever needs it waits for them too, so they cannot wait for that. Throws as planOf does.
 */
export function planMore(
  { recipe: path, jobs: known, names, source }: Plan & { readonly names: JobNames; readonly source: string },
  by: PlanJob,
  given: unknown,
): { readonly jobs: readonly PlanJob[]; readonly names: JobNames; readonly given: Readonly<Record<string, SeenNeed>> } {
  const all = new Map(names);
  const entries = Object.entries(jobsGiven(given, by, path));
  const taken = new Set<string>(known.map(({ name }) => name));
  for (const [name, job] of entries) {
    const whole = `${by.name}.${name}`;
    if (all.has(job)) throw failAt(job, path)(`${whole}: the run has that job already, as ${all.get(job)}.`);
    if (taken.has(whole)) throw failAt(job, path)(`The run has a job ${whole} already.`);
    nameJob(all, whole, job, path);
  }
  const later = dependantsOf(known, by.name);
  const jobs = entries.map(([, job]) => {
    const planned = planJob(job, { names: all, path, source });
    const circle = planned.needs.find((need) => need === by.name || later.has(need));
    if (circle !== undefined)
      throw new SortieError(
        "RECIPE_CYCLE",
        `${planned.name} needs ${circle}, which waits for ${by.name} and all jobs that it gives.`,
        planned.at ? { at: planned.at } : {},
      );
    return { ...planned, needs: [by.name, ...planned.needs] };
  });
  return { jobs: inOrder(jobs), names: all, given: seenOf(given as Jobs, all) };
}

const seenOf = (jobs: Jobs, names: JobNames): Record<string, SeenNeed> =>
  Object.fromEntries(
    Object.entries(jobs).map(([name, one]) => [
      name,
      isMatrix(one)
        ? Object.fromEntries(Object.entries(one.jobs).map(([cell, made]) => [cell, names.get(made) as JobName]))
        : (names.get(one) as JobName),
    ]),
  );

function jobsGiven(given: unknown, by: PlanJob, path: string): Readonly<Record<string, Job>> {
  try {
    return checkedJobs(given, undefined);
  } catch (error) {
    if (!isRecipeError(error)) throw error;
    throw new SortieError("RECIPE_INVALID", `${by.name} gave jobs: ${error.message}`, {
      at: by.at ?? { file: path, line: 1 },
    });
  }
}

function dependantsOf(jobs: readonly PlanJob[], name: JobName): Set<JobName> {
  const found = new Set([name]);
  // In the plan's order, so what a job needs was looked at before it.
  for (const job of jobs) if (job.needs.some((need) => found.has(need))) found.add(job.name);
  found.delete(name);
  return found;
}

function nameJob(names: Map<Job, JobName>, name: string, job: Job, path: string): void {
  const fail = failAt(job, path);
  if (!isJobName(name))
    throw fail(`${JSON.stringify(name)} cannot be a job's name: letters, digits and _.:=,[]- (at most 100).`);
  const other = names.get(job);
  if (other !== undefined) throw fail(`One job has two names, ${other} and ${name}: call job() for each.`);
  names.set(job, name);
}

const isJobName = (name: string): name is JobName => v.safeParse(JobName, name).success;

/** A stable order: a job stands as early as it was written, but after what it needs. */
function inOrder(jobs: readonly PlanJob[]): PlanJob[] {
  const byName = new Map(jobs.map((job) => [job.name, job]));
  const ordered = new Set<PlanJob>();
  // An own stack rather than recursion: a chain of 10,000 jobs is a legal recipe.
  for (const first of jobs) {
    const path: { job: PlanJob; next: number }[] = [{ job: first, next: 0 }];
    const onPath = new Set([first]);
    while (path.length > 0) {
      const top = path[path.length - 1] as { job: PlanJob; next: number };
      const need = top.job.needs[top.next++];
      const needed = need === undefined ? undefined : byName.get(need);
      if (!needed) {
        ordered.add(top.job);
        onPath.delete(top.job);
        path.pop();
      } else if (onPath.has(needed)) {
        const circle = path.slice(path.findIndex(({ job }) => job === needed)).map(({ job }) => job.name);
        throw new SortieError(
          "RECIPE_CYCLE",
          `Jobs need each other in a circle: ${[...circle, needed.name].join(" -> ")}.`,
          top.job.at ? { at: top.job.at } : {},
        );
      } else if (!ordered.has(needed)) {
        path.push({ job: needed, next: 0 });
        onPath.add(needed);
      }
    }
  }
  return [...ordered];
}

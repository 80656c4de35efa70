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

/** Jobs that a function gave in a sandboxed recipe's process, planned there: their names and needs are looked at once more. */
export class JobsElsewhere {
  readonly #planned: Omit<PlannedMore, "names">;
  readonly #recipe: ReadonlySet<JobName>;
  readonly #joined: () => void;

  /** `recipe` are the jobs of all of it; `joined` is called once these are in the plan. */
  constructor(planned: Omit<PlannedMore, "names">, recipe: ReadonlySet<JobName>, joined: () => void) {
    this.#planned = planned;
    this.#recipe = recipe;
    this.#joined = joined;
  }

  planned({ recipe: path, jobs: known, names }: Plan & { readonly names: JobNames }, by: PlanJob): PlannedMore {
    const { jobs, given } = this.#planned;
    const wrong = (message: string): SortieError =>
      new SortieError("RECIPE_INVALID", `${by.name} gave jobs: ${message}`, { at: by.at ?? { file: path, line: 1 } });
    const all = new Set([...this.#recipe, ...known.map(({ name }) => name)]);
    const own = new Set<JobName>();
    for (const { name } of jobs) {
      if (!name.startsWith(`${by.name}.`)) throw wrong(`${name} is not called ${by.name}.NAME.`);
      if (all.has(name)) throw wrong(`the run has a job ${name} already.`);
      all.add(name);
      own.add(name);
    }
    const unknown = jobs.flatMap(({ needs }) => needs).find((need) => !all.has(need));
    if (unknown !== undefined) throw wrong(`one needs ${unknown}, which the run does not have.`);
    const seen = Object.values(given).flatMap((one) => (typeof one === "string" ? [one] : Object.values(one)));
    if (seen.some((name) => !own.has(name))) throw wrong("what is seen of them are others.");
    const later = dependantsOf(known, by.name);
    const joined = jobs.map((job) =>
      joining({ ...job, needs: job.needs.filter((need) => need !== by.name) }, by, later),
    );
    const planned = { jobs: inOrder(joined), names, given };
    this.#joined();
    return planned;
  }
}

interface PlannedMore {
  readonly jobs: readonly PlanJob[];
  readonly names: JobNames;
  readonly given: Readonly<Record<string, SeenNeed>>;
}

/**
 * The plan of jobs that were planned in another process, as its schema has them. Throws RECIPE_INVALID and RECIPE_CYCLE as planOf
 * does.
 */
export function planElsewhere(path: string, jobs: readonly PlanJob[]): Plan & { readonly names: JobNames } {
  const at = { at: { file: path, line: 1 } };
  if (jobs.length === 0) throw new SortieError("RECIPE_INVALID", "The recipe has no jobs.", at);
  const names = new Set(jobs.map(({ name }) => name));
  if (names.size < jobs.length) throw new SortieError("RECIPE_INVALID", "Two jobs have one name.", at);
  for (const { name, needs } of jobs)
    for (const need of needs)
      if (!names.has(need)) throw new SortieError("RECIPE_INVALID", `${name} needs ${need}, which is no job.`, at);
  return { recipe: path, jobs: inOrder(jobs), names: new Map() };
}

/**
 * The plan's jobs that a function of one of them gave, `given`, under its name and theirs, `discover.web`. They need that job.
 * Whatever needs it waits for them too, so they cannot wait for that. Throws as planOf does.
 */
export function planMore(
  { recipe: path, jobs: known, names, source }: Plan & { readonly names: JobNames; readonly source: string },
  by: PlanJob,
  given: unknown,
): PlannedMore {
  if (given instanceof JobsElsewhere) return given.planned({ recipe: path, jobs: known, names }, by);
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
  const jobs = entries.map(([, job]) => joining(planJob(job, { names: all, path, source }), by, later));
  return { jobs: inOrder(jobs), names: all, given: seenOf(given as Jobs, all) };
}

/** Throws RECIPE_CYCLE where it needs what waits for it; `later` are those that wait for `by`. */
function joining(planned: PlanJob, by: PlanJob, later: ReadonlySet<JobName>): PlanJob {
  const circle = planned.needs.find((need) => need === by.name || later.has(need));
  if (circle !== undefined)
    throw new SortieError(
      "RECIPE_CYCLE",
      `${planned.name} needs ${circle}, which waits for ${by.name} and all jobs that it gives.`,
      planned.at ? { at: planned.at } : {},
    );
  return { ...planned, needs: [by.name, ...planned.needs] };
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

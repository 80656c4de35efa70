// recipe -> graph of jobs. Pure: no I/O, no clock.
import { createHash } from "node:crypto";
import * as v from "valibot";
import { closest } from "../protocol/closest.ts";
import { parseDuration } from "../protocol/duration.ts";
import { SortieError } from "../protocol/errors.ts";
import { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { type Command, type Container, Environment, LabelName, RunnerName } from "../protocol/messages.ts";
import { type Place, placeOf } from "./recipe/check-place.ts";
import { isMatrix, type Job, type Matrix } from "./recipe/job.ts";
import type { CommandRun } from "./recipe/job-options.ts";
import type { LoadedRecipe } from "./recipe/loader.ts";
import { nameAt } from "./recipe/location.ts";
import { type Retry, retryOf } from "./recipe/retry.ts";
import { asksFor, describeRule, type Labelled, type LabelRule, suits, valuesOf } from "./recipe/selector.ts";
import { isShellCommand } from "./recipe/shell.ts";

/** What a job asks of the runner it runs on: a name, and rules for labels. Empty fits every runner without mandatory ones. */
export interface Selector {
  readonly runner?: string;
  readonly labels: Readonly<Record<string, LabelRule>>;
  /** Of its slots; absent: one. */
  readonly slots?: number;
}

/** One job, ready to be scheduled and dispatched: everything checked, everything in wire form. */
export interface PlanJob extends Place {
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly on: Selector;
  readonly steps: readonly Command[];
  readonly env: Environment;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  readonly graceMs: number;
  /** How long it goes on without its coordinator; null: for ever. Absent: as the runner has it. */
  readonly leaseMs?: number | null;
  /** Absent: a failure is not tried again. */
  readonly retry?: Retry;
  /** The run passes although it fails. */
  readonly allowFailure?: true;
  /** It runs once what it needs is over, also in a run that was cancelled. */
  readonly always?: true;
  /** Absent: 0. Higher ones are placed first. */
  readonly priority?: number;
  readonly at?: { readonly file: string; readonly line: number };
}

/** Jobs in an order in which every job stands after those it needs. */
export interface Plan {
  readonly recipe: string;
  readonly jobs: readonly PlanJob[];
}

/** Throws RECIPE_INVALID or RECIPE_CYCLE, pointing at the job's own line. */
export function planOf({ path, recipe, source }: LoadedRecipe): Plan {
  const entries = Object.entries(recipe.jobs);
  if (entries.length === 0)
    throw new SortieError("RECIPE_INVALID", "The recipe has no jobs.", {
      at: recipe.location ?? { file: path, line: 1 },
    });
  const names = new Map<Job, JobName>();
  for (const [name, job] of entries) {
    const fail = failAt(job, path);
    if (!isJobName(name))
      throw fail(`${JSON.stringify(name)} cannot be a job's name: letters, digits and _.:=,[]- (at most 100).`);
    const other = names.get(job);
    if (other !== undefined) throw fail(`One job has two names, ${other} and ${name}: call job() for each.`);
    names.set(job, name);
  }
  /** A job that has no name yet, by that of its variable. */
  const calledInSource = ({ location }: Job | Matrix): string | undefined =>
    location?.file === path ? nameAt(source, location) : undefined;
  const jobs = entries.map(([, job]) => planJob(job, names, path, calledInSource));
  return { recipe: path, jobs: inOrder(jobs) };
}

const isJobName = (name: string): name is JobName => v.safeParse(JobName, name).success;

function planJob(
  job: Job,
  names: ReadonlyMap<Job, JobName>,
  path: string,
  calledInSource: (job: Job | Matrix) => string | undefined,
): PlanJob {
  const fail = failAt(job, path);
  const name = names.get(job) as JobName;
  const { options } = job;
  const { slots = 1 } = options;
  const needs = (options.needs ?? []).flatMap((need) =>
    (isMatrix(need) ? Object.values(need.jobs) : [need]).map((one) => {
      const needed = names.get(one);
      if (needed === undefined)
        throw fail(
          `${name} needs ${calledInSource(need) ?? (isMatrix(need) ? "a matrix" : "a job")}, which recipe() does not list${need.location ? ` (made ${placeIn(need.location, path)})` : ""}.`,
        );
      return needed;
    }),
  );
  const env = v.safeParse(Environment, Object.entries(options.env ?? {}));
  if (!env.success) throw fail(`${name}: env has a wrong entry: ${env.issues[0].message}.`);
  const { runner, ...wanted } = options.on ?? {};
  if (runner !== undefined && !v.is(RunnerName, runner))
    throw fail(`${name}: on.runner must be a runner's name: letters, digits and _.- (at most 63).`);
  const labels = Object.entries(wanted).filter((entry): entry is [string, LabelRule] => entry[1] !== undefined);
  for (const [label] of labels) {
    if (!v.is(LabelName, label)) throw fail(`${name}: on has a wrong label: ${JSON.stringify(label)}.`);
    // A runner cannot have such a label: messages drop it in silence.
    if (label in Object.prototype) throw fail(`${name}: on cannot have a label ${label}.`);
  }
  const place = placeOf(options, (message) => fail(`${name}: ${message}`));
  const timeoutMs = parseDuration(options.timeout);
  const leaseMs = options.lease === "none" ? null : parseDuration(options.lease);
  const graceMs = parseDuration(options.grace) ?? limits.graceMs;
  if (graceMs > limits.graceMaximumMs)
    throw fail(`${name}: grace is at most ${limits.graceMaximumMs / 60_000} minutes.`);
  const steps = typeof options.run === "function" ? [] : stepsOf(options.run);
  if (steps.length > limits.stepsPerJob) throw fail(`${name} has more than ${limits.stepsPerJob} steps.`);
  if (steps.some((step) => ("argv" in step ? step.argv : [step.shell]).some((text) => text.includes("\0"))))
    throw fail(`${name}: run holds a NUL character.`);
  return {
    name,
    needs: [...new Set(needs)],
    on: {
      labels: Object.fromEntries(labels),
      ...(runner === undefined ? {} : { runner }),
      ...(slots > 1 ? { slots } : {}),
    },
    steps,
    env: env.output,
    graceMs,
    ...place,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...(timeoutMs === undefined ? {} : { timeoutMs }),
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(options.retry === undefined ? {} : { retry: retryOf(options.retry, fail) }),
    ...(options.allowFailure ? { allowFailure: true as const } : {}),
    ...(options.priority ? { priority: options.priority } : {}),
    ...(options.always ? { always: true as const } : {}),
    ...(job.location ? { at: { file: job.location.file, line: job.location.line } } : {}),
  };
}

const placeIn = ({ file, line }: { file: string; line: number }, path: string): string =>
  file === path ? `on line ${line}` : `in ${file} on line ${line}`;

function stepsOf(run: CommandRun): Command[] {
  if (typeof run === "string") return [{ shell: run }];
  if (isShellCommand(run)) return [{ shell: run.text }];
  if (run.every((part) => typeof part === "string")) return [{ argv: [...run] as string[] }];
  return (run as readonly (readonly string[] | { text: string })[]).map((step) =>
    "text" in step ? { shell: step.text } : { argv: [...step] },
  );
}

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

const failAt = (job: Job, path: string) => (message: string) =>
  new SortieError("RECIPE_INVALID", message, { at: job.location ?? { file: path, line: 1 } });

/** Whether a runner is what the job asks for, and the job what the runner is for. */
export const fits = (on: Selector, runner: Labelled): boolean =>
  (on.runner === undefined || on.runner === runner.name) &&
  (on.slots ?? 1) <= (runner.slots ?? Number.POSITIVE_INFINITY) &&
  Object.entries(on.labels).every(([name, rule]) => suits(rule, runner.labels[name])) &&
  (runner.mandatory ?? []).every((name) => asksFor(on.labels[name]));

/** Runners that an error names one by one. */
const MOST_NAMED = 10;

/** Throws SELECTOR_UNKNOWN where a job asks for what none of the runners is, and says what there is. */
export function checkSelectors(plan: Plan, runners: readonly Labelled[]): void {
  // Many jobs ask for the same; runners may be hundreds.
  const served = new Set<string>();
  for (const job of plan.jobs) {
    const key = selectorKey(job.on);
    if (served.has(key)) continue;
    served.add(key);
    if (runners.some((runner) => fits(job.on, runner))) continue;
    const there = runners
      .slice(0, MOST_NAMED)
      .map(
        (runner) =>
          `${runner.name} (${describeLabels(runner)}${job.on.slots ? `, ${slotsText(runner.slots ?? 1)}` : ""})`,
      );
    if (runners.length > MOST_NAMED) there.push(`${runners.length - MOST_NAMED} more`);
    const meant = meantBy(job.on, runners);
    throw new SortieError(
      "SELECTOR_UNKNOWN",
      `${job.name} asks for ${describeSelector(job.on)}; there is ${there.join(", ") || "no runner"}.`,
      { ...(job.at ? { at: job.at } : {}), ...(meant ? { hint: `Did you mean ${meant}?` } : {}) },
    );
  }
}

/** A runner's name, a label or a value that is near to one that nothing has. */
function meantBy({ runner, labels }: Selector, runners: readonly Labelled[]): string | undefined {
  const names = runners.map(({ name }) => name);
  if (runner !== undefined && !names.includes(runner)) {
    const near = closest(runner, names);
    return near && `the runner ${near}`;
  }
  const known = new Set(runners.flatMap((one) => Object.keys(one.labels)));
  for (const [label, rule] of Object.entries(labels)) {
    if (!asksFor(rule)) continue;
    const near = known.has(label) ? undefined : closest(label, [...known]);
    if (near) return `the label ${near}`;
    const values = [...new Set(runners.flatMap((one) => one.labels[label] ?? []))];
    for (const value of valuesOf(rule)) {
      const other = values.includes(value) ? undefined : closest(value, values);
      if (other) return `${label}=${other}`;
    }
  }
  return undefined;
}

/** The same for selectors that ask for the same, and for those alone. */
export const selectorKey = (on: Selector): string =>
  JSON.stringify([
    on.runner ?? null,
    ...(on.slots === undefined ? [] : [on.slots]),
    ...Object.entries(on.labels)
      .map(([name, rule]) => (typeof rule === "string" ? `${name}=${rule}` : `${name} ${JSON.stringify(rule)}`))
      .sort(),
  ]);

export const describeSelector = (on: Selector): string =>
  [
    ...(on.runner === undefined ? [] : [`runner=${on.runner}`]),
    ...Object.entries(on.labels).map(([name, rule]) => describeRule(name, rule)),
    ...(on.slots === undefined ? [] : [slotsText(on.slots)]),
  ].join(" ") || "any runner";

const slotsText = (slots: number): string => `${slots} ${slots === 1 ? "slot" : "slots"}`;

/** `gpu!=a100` is a label that jobs must ask for. */
export const describeLabels = ({ labels, mandatory = [] }: Omit<Labelled, "name">): string =>
  Object.entries(labels)
    .map(([name, value]) => `${name}${mandatory.includes(name) ? "!" : ""}=${value}`)
    .join(" ") || "no labels";

/**
 * Tells whether a recipe still describes the same jobs. Values of variables are not part of it: they may be secrets, and
 * this is kept.
 */
export function fingerprintOf(plan: Plan): string {
  const jobs = plan.jobs.map(({ name, needs, on, steps, env, cwd, timeoutMs, graceMs, container, ...rest }) => {
    const { ssh, user, limits, nice, umask, retry, allowFailure, always, priority } = rest;
    const place = { container: container && withoutValues(container), ssh, user, limits, nice, umask };
    const asked = { name, needs, on: selectorKey(on), steps, variables: namesOf(env), cwd, timeoutMs, graceMs };
    return { ...asked, ...place, retry, allowFailure, always, priority };
  });
  return createHash("sha256").update(JSON.stringify(jobs)).digest("hex");
}

const namesOf = (env: Environment): string[] => env.map(([name]) => name);

const withoutValues = ({ services, ...container }: Container) => ({
  ...container,
  services: services.map(({ env, ...service }) => ({ ...service, variables: namesOf(env) })),
});

// One job of a plan: everything of job() checked, in the form in which it is scheduled and dispatched. plan.ts puts them
// together. Pure.
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import type { Environment, Step } from "../protocol/command.ts";
import { parseDuration } from "../protocol/duration.ts";
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { LabelName, RunnerName } from "../protocol/messages.ts";
import type { ConditionElsewhere, FunctionElsewhere } from "./elsewhere.ts";
import type { Group } from "./group.ts";
import { serviceSecretsOf } from "./recipe/check-container.ts";
import { type Place, placeOf } from "./recipe/check-place.ts";
import { groupOf } from "./recipe/concurrency.ts";
import { type AnyJobOptions, isMatrix, type Job, type Matrix, type OutputAs } from "./recipe/job.ts";
import type { PlaceOfJob } from "./recipe/job-options.ts";
import { secretFilesOf, secretOfStdin } from "./recipe/job-secrets.ts";
import { type Location, nameAt } from "./recipe/location.ts";
import { type Notify, notifyOf } from "./recipe/notify.ts";
import type { PlanSecret } from "./recipe/plan-secret.ts";
import { type Retry, retryOf } from "./recipe/retry.ts";
import { isSecret, type SecretSource } from "./recipe/secret.ts";
import type { LabelRule } from "./recipe/selector.ts";
import type { StdinOptions } from "./recipe/stdin.ts";
import { stepsOf } from "./recipe/steps.ts";
import { timeoutsOf } from "./recipe/timeout.ts";
import { variablesOf } from "./recipe/variables.ts";
import type { Selector } from "./selectors.ts";

/** What a function or a condition sees of one of its needs: a job's result, or those of a matrix by cell. */
export type SeenNeed = JobName | { readonly [cell: string]: JobName };

/** Another place of a job that a function drives. */
export interface PlanPlace extends Place {
  readonly name: string;
  readonly on: Selector;
  readonly env: Environment;
  /** Variables besides, whose values are read when a runner is asked. */
  readonly secrets?: readonly PlanSecret[];
  readonly cwd?: string;
}

/** One job, ready to be scheduled and dispatched: everything checked, everything in wire form. */
export interface PlanJob extends Place {
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly on: Selector;
  readonly steps: readonly Step[];
  readonly env: Environment;
  /** Variables besides, whose values are read when a runner is asked. */
  readonly secrets?: readonly PlanSecret[];
  /** What its command reads: a text, a file by its absolute path, or the one of its secrets. Absent: nothing. */
  readonly stdin?: string | { readonly file: string } | { readonly secret: string };
  /** Who is told how it came out. */
  readonly notify?: readonly Notify[];
  /** Globs of files that it makes, each under a name. */
  readonly outputs?: Readonly<Record<string, readonly string[]>>;
  readonly cwd?: string;
  readonly timeoutMs?: number;
  /** How long it may wait, once it is ready, until a runner starts it. */
  readonly queueMs?: number;
  /** So many jobs of it run at once, of all runs. */
  readonly group?: Group;
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
  /** Globs of files that it depends on, relative to the recipe's folder; absent: all that are below it. */
  readonly inputs?: readonly string[];
  /** A function drives it, in place of steps; that of a sandboxed recipe is in another process. */
  readonly drive?: ((context: never) => unknown) | FunctionElsewhere;
  /** Whether it is run at all. */
  readonly condition?: ((context: never) => unknown) | ConditionElsewhere;
  /** What the two see, in the order of the recipe's `needs`; jobs that the plan leaves out too. */
  readonly sees?: readonly SeenNeed[];
  /** What its standard output is, for the jobs that see it. */
  readonly output?: OutputAs;
  /** It has these as well, at the same time. */
  readonly also?: readonly PlanPlace[];
  readonly at?: { readonly file: string; readonly line: number };
}

/** Names that jobs have, and where the recipe is. */
export interface Known {
  readonly names: ReadonlyMap<Job, JobName>;
  readonly path: string;
  readonly source: string;
}

/** Throws RECIPE_INVALID, at the line of the job. */
export function planJob(job: Job, { names, path, source }: Known): PlanJob {
  const fail = failAt(job, path);
  const name = names.get(job) as JobName;
  const { options } = job;
  /** A job that has no name yet, by that of its variable. */
  const calledInSource = ({ location }: Job | Matrix): string | undefined =>
    location?.file === path ? nameAt(source, location) : undefined;
  const nameOf = (one: Job, need: Job | Matrix): JobName => {
    const needed = names.get(one);
    if (needed !== undefined) return needed;
    throw fail(
      `${name} needs ${calledInSource(need) ?? (isMatrix(need) ? "a matrix" : "a job")}, which recipe() does not list${need.location ? ` (made ${placeIn(need.location, path)})` : ""}.`,
    );
  };
  const sees = (options.needs ?? []).map(
    (need): SeenNeed =>
      isMatrix(need)
        ? Object.fromEntries(Object.entries(need.jobs).map(([cell, one]) => [cell, nameOf(one, need)]))
        : nameOf(need, need),
  );
  const needs = sees.flatMap((seen) => (typeof seen === "string" ? [seen] : Object.values(seen)));
  const { run, if: condition, output } = options;
  const drive = typeof run === "function" ? run : undefined;
  const here = (message: string): Error => fail(`${name}: ${message}`);
  const place = placeOf(options, here);
  const { stepTimeoutMs, ...timeouts } = timeoutsOf(options.timeout, drive !== undefined, here);
  const leaseMs = options.lease === "none" ? null : parseDuration(options.lease);
  const graceMs = parseDuration(options.grace) ?? limits.graceMs;
  if (graceMs > limits.graceMaximumMs)
    throw fail(`${name}: grace is at most ${limits.graceMaximumMs / 60_000} minutes.`);
  const steps = typeof run === "function" ? [] : stepsOf(run, stepTimeoutMs);
  if (steps.length > limits.stepsPerJob) throw fail(`${name} has more than ${limits.stepsPerJob} steps.`);
  if (steps.some((step) => ("argv" in step ? step.argv : [step.shell]).some((text) => text.includes("\0"))))
    throw fail(`${name}: run holds a NUL character.`);
  return {
    name,
    needs: [...new Set(needs)],
    on: selectorOf(options, here),
    steps,
    ...variablesIn(options, path, here),
    graceMs,
    ...place,
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    ...timeouts,
    ...(leaseMs === undefined ? {} : { leaseMs }),
    ...(options.concurrency === undefined ? {} : { group: groupOf(options.concurrency, here) }),
    ...(options.retry === undefined ? {} : { retry: retryOf(options.retry, fail) }),
    ...(options.allowFailure ? { allowFailure: true as const } : {}),
    ...(options.priority ? { priority: options.priority } : {}),
    ...(options.always ? { always: true as const } : {}),
    ...(options.inputs ? { inputs: options.inputs } : {}),
    ...(options.notify ? { notify: notifyOf(options.notify, here) } : {}),
    ...(options.outputs ? { outputs: outputsOf(options.outputs) } : {}),
    ...(options.stdin === undefined ? {} : { stdin: stdinFrom(options.stdin, path) }),
    ...(drive ? { drive } : {}),
    ...(condition ? { condition } : {}),
    ...(drive || condition ? { sees } : {}),
    ...(output === undefined ? {} : { output }),
    ...(options.also ? { also: placesOf(options.also, path, here) } : {}),
    ...(job.location ? { at: { file: job.location.file, line: job.location.line } } : {}),
  };
}

const outputsOf = (outputs: NonNullable<AnyJobOptions["outputs"]>): Record<string, readonly string[]> =>
  Object.fromEntries(Object.entries(outputs).map(([name, globs]) => [name, [globs].flat()]));

const stdinFrom = (stdin: StdinOptions, recipe: string): NonNullable<PlanJob["stdin"]> => {
  if (isSecret(stdin)) return { secret: secretOfStdin(stdin).from };
  return typeof stdin === "string" ? stdin : { file: resolve(dirname(recipe), stdin.file) };
};

function placesOf(
  also: NonNullable<AnyJobOptions["also"]>,
  recipe: string,
  wrong: (message: string) => Error,
): PlanPlace[] {
  return Object.entries(also).map(([name, place]) => {
    const wrongThere = (message: string): Error => wrong(`also.${name}: ${message}`);
    return {
      name,
      on: selectorOf(place, wrongThere),
      ...variablesIn(place, recipe, wrongThere),
      ...placeOf(place, wrongThere),
      ...(place.cwd === undefined ? {} : { cwd: place.cwd }),
    };
  });
}

function selectorOf({ on = {}, slots = 1 }: PlaceOfJob, wrong: (message: string) => Error): Selector {
  const { runner, ...wanted } = on;
  if (runner !== undefined && !v.is(RunnerName, runner))
    throw wrong("on.runner must be a runner's name: letters, digits and _.- (at most 63).");
  const labels = Object.entries(wanted).filter((entry): entry is [string, LabelRule] => entry[1] !== undefined);
  for (const [label] of labels) {
    if (!v.is(LabelName, label)) throw wrong(`on has a wrong label: ${JSON.stringify(label)}.`);
    // A runner cannot have such a label: messages drop it in silence.
    if (label in Object.prototype) throw wrong(`on cannot have a label ${label}.`);
  }
  return {
    labels: Object.fromEntries(labels),
    ...(runner === undefined ? {} : { runner }),
    ...(slots > 1 ? { slots } : {}),
  };
}

function variablesIn(
  { env: given, secrets: files, stdin, container }: PlaceOfJob & Pick<AnyJobOptions, "stdin">,
  recipe: string,
  wrong: (message: string) => Error,
): { readonly env: Environment; readonly secrets?: readonly PlanSecret[] } {
  const { env, secrets: own } = variablesOf("env", given, wrong);
  const secrets = [
    ...own,
    ...serviceSecretsOf(container, wrong),
    ...secretFilesOf(files, given, wrong),
    ...(isSecret(stdin) ? [secretOfStdin(stdin)] : []),
  ];
  if (secrets.length > limits.secretsPerJob) throw wrong(`it has more than ${limits.secretsPerJob} secrets.`);
  if (secrets.length === 0) return { env };
  return { env, secrets: secrets.map((one) => ({ ...one, source: sourceFrom(one.source, recipe) })) };
}

const sourceFrom = (source: SecretSource, recipe: string): SecretSource =>
  "file" in source ? { file: resolve(dirname(recipe), source.file) } : source;

const placeIn = ({ file, line }: Location, path: string): string =>
  file === path ? `on line ${line}` : `in ${file} on line ${line}`;

/** An error at the line of a job. */
export const failAt = (job: Job, path: string) => (message: string) =>
  new SortieError("RECIPE_INVALID", message, { at: job.location ?? { file: path, line: 1 } });

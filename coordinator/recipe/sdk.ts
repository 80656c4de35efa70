// What `import { job, recipe, sh } from "sortie"` gives. Jobs are plain frozen values that are checked when they are
// made, so an error points at the line of the recipe that made them. Marks are registered symbols: a recipe's copy
// of this module and the coordinator's own understand each other.

import * as v from "valibot";
import { parseDuration } from "../../protocol/duration.ts";
import { limits } from "../../protocol/limits.ts";
import { LabelValue } from "../../protocol/messages.ts";
import { type Axes, type Cell, cellsOf } from "./cells.ts";
import {
  checkDuration,
  checkFlag,
  checkNames,
  checkNeeds,
  checkRun,
  checkStrings,
  isRecord,
  shown,
  type Wrong,
} from "./check.ts";
import { placeOf } from "./check-place.ts";
import { callSite, type Location } from "./location.ts";
import type { Argv, Duration, PlaceOptions } from "./place.ts";
import { RecipeError } from "./recipe-error.ts";
import { type RetryOptions, retryOf } from "./retry.ts";
import { isSchema, type SchemaInput, type SchemaOutput, type StandardSchema } from "./schema.ts";
import { checkRule, type LabelRule } from "./selector.ts";
import type { ShellCommand } from "./shell.ts";

export type { Axes, AxisValue, Cell } from "./cells.ts";
export type {
  Argv,
  ContainerOptions,
  Duration,
  HealthOptions,
  LimitOptions,
  MountOptions,
  PlaceOptions,
  Pull,
  ServiceOptions,
  Size,
  SshOptions,
  TmpfsOptions,
} from "./place.ts";
export type { FailureReason, RetryOptions } from "./retry.ts";
export type { SchemaInput, SchemaIssue, SchemaOutput, SchemaResult, StandardSchema } from "./schema.ts";
export { type All, type Any, all, any, type LabelRule, type Not, not } from "./selector.ts";
export { type ShellCommand, type ShellValue, sh } from "./shell.ts";

const JOB = Symbol.for("sortie.job");
const MATRIX = Symbol.for("sortie.matrix");
const RECIPE = Symbol.for("sortie.recipe");

/** One command of a job that has several. */
export type Step = ShellCommand | Argv;

/** What a job is. */
export interface JobOptions extends PlaceOptions {
  /**
   * The command: a shell string (run by `/bin/sh -c`), an `sh` template, or argv; or several of them, as steps.
   *
   * A list of strings is always argv. Steps are a list of `sh` templates and argv lists; they run one after the other
   * in the same working directory, and the first that does not exit 0 ends the job.
   * @example run: "npm test | tee log"
   * @example run: ["npm", "test"]
   * @example run: [sh`npm ci`, ["npm", "test"]]
   */
  readonly run: string | ShellCommand | Argv | readonly Step[];
  /**
   * Jobs that must pass first, by value: each must be in the recipe too. A matrix stands for all of its jobs. Default: none.
   * @example needs: [build, lint]
   */
  readonly needs?: readonly (Job | Matrix)[];
  /**
   * The runner it asks for: what each of these labels must be, all of them together, and `runner` for one by its name. A
   * label is to have a value, or one of a list; to be there (`true`) or not (`false`); or what `not`, `any` and `all` say.
   * Runners with a mandatory label are only for jobs that ask for it. Default: any runner.
   * @example on: { os: "linux", gpu: ["a100", "h100"], arch: not("arm64") }
   * @example on: { runner: "w1" }
   */
  readonly on?: Selection;
  /**
   * Variables added to the job's clean environment. Names that begin with `SORTIE_` are Sortie's own. Default: none.
   * @example env: { NODE_ENV: "test" }
   */
  readonly env?: Readonly<Record<string, string>>;
  /**
   * An absolute path where the commands run: on the runner, in the container, on the ssh host. Default: a fresh
   * directory, removed after the job.
   * @example cwd: "/srv/app"
   */
  readonly cwd?: string;
  /**
   * The time all steps have together; then the job is ended and its exit says `timeout`. Default: no limit.
   * @example timeout: "10m"
   */
  readonly timeout?: Duration;
  /**
   * How long the job goes on when its coordinator is gone: its computer sleeps, or the network is cut. Then it is
   * cancelled, and its exit says `lease`. `"none"`: for ever. Default: the runner's, five minutes.
   * @example lease: "1h"
   */
  readonly lease?: Duration | "none";
  /**
   * From TERM to KILL when the job is cancelled or its time is up; at most ten minutes. Default: 5 seconds.
   * @example grace: "30s"
   */
  readonly grace?: Duration;
  /**
   * How often the job is tried again when it fails, or an object that says more. An attempt that the infrastructure lost
   * is not a failure: that is tried again by itself, three times in all. Default: 0.
   * @example retry: 2
   * @example retry: { count: 5, backoff: "10s", on: { codes: [75], reasons: ["timeout"] } }
   */
  readonly retry?: number | RetryOptions;
  /**
   * Whether the run may pass although this job fails; what needs it goes on then. A job that the infrastructure lost did not
   * fail, and is not allowed for. Default: false.
   * @example allowFailure: true
   */
  readonly allowFailure?: boolean;
  /**
   * Whether the job runs once all that it needs is over, however that came out, also when the run is cancelled: to clean
   * up. Only a second Ctrl-C keeps it from running. Default: false.
   * @example const stop = job({ always: true, needs: [start, test], run: "./stop-servers" });
   */
  readonly always?: boolean;
  /**
   * Among jobs that are ready those with a higher number start first; among equals the one that waits longest. Default: 0.
   * @example priority: 10
   */
  readonly priority?: number;
  /**
   * How many of its runner's slots the job takes; only runners that have as many can be given it. Default: 1.
   * @example slots: 4
   */
  readonly slots?: number;
}

/** What a job asks of its runner: a name, and rules for labels. */
export interface Selection {
  readonly runner?: string;
  readonly [label: string]: LabelRule | undefined;
}

/** A job of a recipe: what `job()` gives, and what `needs` takes. */
export interface Job {
  readonly [JOB]: true;
  readonly options: JobOptions;
  readonly location: Location | undefined;
}

/** Jobs that a matrix made, one a cell: what `matrix()` gives, and what `needs` takes. */
export interface Matrix {
  readonly [MATRIX]: true;
  /** Each under what its name ends with: `node=24,os=linux`. */
  readonly jobs: Readonly<Record<string, Job>>;
  readonly location: Location | undefined;
}

/** Jobs, each under the name that it goes by everywhere. Those of a matrix are `test[node=24,os=linux]` and so on. */
export type Jobs = Readonly<Record<string, Job | Matrix>>;

/** What a recipe's default export must be; or a recipe with params. */
export interface Recipe {
  readonly [RECIPE]: true;
  readonly jobs: Readonly<Record<string, Job>>;
  readonly location: Location | undefined;
}

/** What a recipe with params is made of. */
export interface ParamsOptions<Schema extends StandardSchema> {
  /**
   * What the params must be: an object schema of any library that follows Standard Schema (valibot, zod, arktype, …). A
   * value is given as text, by `--set KEY=VALUE`, `--set-file KEY=PATH` or the environment. The schema gets the text as
   * it is; where it does not take it, and the text is JSON (`3`, `true`, `["a"]`), it gets that.
   */
  readonly params: Schema;
  /**
   * Environment variables of the coordinator that give a param which the command line does not. Default: none.
   * @example env: { version: "RELEASE_VERSION" }
   */
  readonly env?: { readonly [Key in keyof SchemaInput<Schema>]?: string };
  /** Makes the jobs, from what the schema made of the params. */
  jobs(params: SchemaOutput<Schema>): Jobs;
}

/** A recipe whose jobs are known once its params are. */
export interface RecipeWithParams<Schema extends StandardSchema = StandardSchema> extends ParamsOptions<Schema> {
  readonly [RECIPE]: true;
  readonly location: Location | undefined;
}

const jobNames = [
  ...[
    "run",
    "needs",
    "on",
    "env",
    "cwd",
    "timeout",
    "grace",
    "lease",
    "retry",
    "allowFailure",
    "always",
    "priority",
    "slots",
  ],
  ...["container", "ssh", "user", "limits", "nice", "umask"],
] as (keyof JobOptions)[];

/**
 * Describes a job. What is wrong with it is thrown at once, so that the error points at this very line.
 * @example const test = job({ needs: [build], on: { os: "linux" }, timeout: "10m", run: sh`npm test` });
 */
export function job(options: JobOptions): Job {
  const location = callSite(job);
  const wrong: Wrong = (message) => new RecipeError(message, location, "job");
  if (!isRecord(options)) throw wrong("job() takes an object of options.");
  checkNames("job()", options, jobNames, wrong);
  const { run, needs, on, env, cwd, timeout, grace, lease, retry, allowFailure, always, priority, slots } =
    options as JobOptions;
  checkRun(run, wrong);
  checkNeeds(needs, (need) => isJob(need) || isMatrix(need), wrong);
  checkSelection(on, wrong);
  checkStrings("env", env, wrong);
  if (cwd !== undefined && !(typeof cwd === "string" && cwd.startsWith("/")))
    throw wrong(`cwd must be an absolute path, not ${shown(cwd)}.`);
  checkDuration("timeout", timeout, wrong);
  if (lease !== "none") checkDuration("lease", lease, wrong);
  if (lease !== undefined && lease !== "none" && (parseDuration(lease) ?? 0) < limits.leaseMinimumMs)
    throw wrong(`lease must be at least ${limits.leaseMinimumMs / 1_000} s.`);
  checkDuration("grace", grace, wrong);
  if (timeout !== undefined && parseDuration(timeout) === 0) throw wrong("timeout must be at least a millisecond.");
  if (retry !== undefined) retryOf(retry, wrong);
  checkFlag("allowFailure", allowFailure, wrong);
  checkFlag("always", always, wrong);
  if (priority !== undefined && !Number.isFinite(priority))
    throw wrong(`priority must be a number, not ${shown(priority)}.`);
  if (slots !== undefined && !(Number.isInteger(slots) && slots >= 1 && slots <= limits.slots))
    throw wrong(`slots must be a whole number from 1 to ${limits.slots}, not ${shown(slots)}.`);
  placeOf(options, wrong);
  // Copies: what is changed afterwards would not have been checked. (needs stays: its jobs are looked up by the plan.)
  const { needs: _, ...checked } = options as JobOptions;
  const kept: JobOptions = { ...frozenCopy(checked), ...(needs ? { needs } : {}) };
  return withLocation({ [JOB]: true as const, options: Object.freeze(kept) }, location);
}

/** Options of a matrix. */
export interface MatrixOptions<Of extends Axes> {
  /**
   * Cells that get no job: those that have all values of one of these. Default: none.
   * @example exclude: [{ node: "24", os: "windows" }]
   */
  readonly exclude?: readonly { readonly [Axis in keyof Of]?: Of[Axis][number] }[];
}

/**
 * Describes a job for each combination of the axes' values, at most 1,000.
 * @example const test = matrix({ node: ["24", "26"] }, ({ node }) => job({ container: `node:${node}`, run: sh`npm test` }));
 */
export function matrix<const Of extends Axes>(
  axes: Of,
  make: (cell: Cell<Of>) => Job,
  options: MatrixOptions<Of> = {},
): Matrix {
  const location = callSite(matrix);
  const wrong: Wrong = (message) => new RecipeError(message, location, "job");
  if (typeof make !== "function") throw wrong("matrix() takes a function that makes a job of a cell.");
  if (!isRecord(options)) throw wrong("matrix() takes an object of options.");
  checkNames("matrix()", options, ["exclude"], wrong);
  const jobs = cellsOf(axes, options.exclude, wrong).map(({ name, cell }) => {
    const made: unknown = make(cell as Cell<Of>);
    if (!isJob(made)) throw wrong(`The function of matrix() must give what job() gave, also for ${name}.`);
    return [name, made] as const;
  });
  return withLocation({ [MATRIX]: true as const, jobs: Object.freeze(Object.fromEntries(jobs)) }, location);
}

/**
 * Describes a recipe whose jobs depend on params.
 * @example export default recipe({ params: v.object({ node: v.string() }), jobs: ({ node }) => ({ test: test(node) }) });
 */
export function recipe<Schema extends StandardSchema>(options: ParamsOptions<Schema>): RecipeWithParams<Schema>;
/**
 * Describes a recipe: its jobs, each under the name that it goes by everywhere.
 * @example export default recipe({ build, test });
 */
export function recipe(jobs: Jobs): Recipe;
export function recipe(options: Jobs | ParamsOptions<StandardSchema>): Recipe | RecipeWithParams {
  const location = callSite(recipe);
  const wrong: Wrong = (message) => new RecipeError(message, location, "recipe");
  if (isRecord(options) && hasParams(options)) {
    checkNames("recipe()", options, paramsNames, wrong);
    const { params, env, jobs } = options;
    if (!isSchema(params))
      throw wrong(`params must be a schema (of valibot, zod, arktype or the like), not ${shown(params)}.`);
    if (typeof jobs !== "function") throw wrong("jobs must be a function that makes the jobs of the params.");
    checkStrings("env", env, wrong);
    const kept = { [RECIPE]: true as const, params, jobs, ...(env ? { env: Object.freeze({ ...env }) } : {}) };
    return withLocation(kept, location);
  }
  return withLocation({ [RECIPE]: true as const, jobs: checkedJobs(options, location) }, location);
}

const paramsNames = ["params", "env", "jobs"] satisfies (keyof ParamsOptions<StandardSchema>)[];

/** A job may be called `params`, or `jobs`, too. */
const hasParams = (options: object): options is ParamsOptions<StandardSchema> =>
  ("params" in options && !isJob(options.params) && !isMatrix(options.params)) ||
  ("jobs" in options && typeof options.jobs === "function");

/** @internal With the jobs of each matrix under their own names. Throws where something is no job, at the recipe's line. */
export function checkedJobs(jobs: unknown, location: Location | undefined): Readonly<Record<string, Job>> {
  const wrong: Wrong = (message) => new RecipeError(message, location, "recipe");
  if (!isRecord(jobs)) throw wrong("recipe() takes an object of jobs.");
  const named = Object.entries(jobs).flatMap(([name, value]): [string, Job][] => {
    if (isJob(value)) return [[name, value]];
    if (isMatrix(value)) return Object.entries(value.jobs).map(([cell, made]) => [`${name}[${cell}]`, made]);
    throw wrong(`${JSON.stringify(name)} is not a job: recipe() takes values that job() or matrix() gave.`);
  });
  const flat = Object.fromEntries(named);
  if (Object.keys(flat).length < named.length) throw wrong("A job has the name of one that a matrix made.");
  return Object.freeze(flat);
}

/** @internal The recipe that the params make of it. */
export const recipeOf = ({ jobs, location }: Pick<RecipeWithParams, "jobs" | "location">, params: unknown): Recipe =>
  withLocation({ [RECIPE]: true as const, jobs: checkedJobs(jobs(params), location) }, location);

/** @internal */
export const isJob = (value: unknown): value is Job => isRecord(value) && JOB in value;
/** @internal */
export const isMatrix = (value: unknown): value is Matrix => isRecord(value) && MATRIX in value;
/** @internal */
export const isRecipe = (value: unknown): value is Recipe | RecipeWithParams => isRecord(value) && RECIPE in value;
/** @internal */
export const takesParams = (recipe: Recipe | RecipeWithParams): recipe is RecipeWithParams => "params" in recipe;

function checkSelection(on: unknown, wrong: Wrong): void {
  if (on === undefined) return;
  if (!isRecord(on)) throw wrong(`on must be an object of labels, not ${shown(on)}.`);
  for (const [label, rule] of Object.entries(on)) {
    if (label !== "runner") checkRule(label, rule, (text) => v.is(LabelValue, text), wrong);
    else if (typeof rule !== "string") throw wrong(`on.runner must be a runner's name, not ${shown(rule)}.`);
  }
}

function frozenCopy<T>(value: T): T {
  if (Array.isArray(value)) return Object.freeze(value.map(frozenCopy)) as T;
  if (!isRecord(value)) return value;
  const copies = Reflect.ownKeys(value).map((key) => [key, frozenCopy(value[key])] as const);
  return Object.freeze(Object.fromEntries(copies)) as T;
}

/** Kept out of sight when the value is printed. */
function withLocation<T extends object>(
  value: T,
  location: Location | undefined,
): T & { readonly location: Location | undefined } {
  Object.defineProperty(value, "location", { value: location, enumerable: false });
  return Object.freeze(value) as T & { readonly location: Location | undefined };
}

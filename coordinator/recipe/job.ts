// `job()`: describes one job. Jobs are plain frozen values that are checked when they are made, so an error points at the
// line of the recipe that made them. Marks are registered symbols: a recipe's copy of this module and the coordinator's
// own understand each other.
import * as v from "valibot";
import { parseDuration } from "../../protocol/duration.ts";
import { limits } from "../../protocol/limits.ts";
import { LabelValue } from "../../protocol/messages.ts";
import {
  checkDuration,
  checkFlag,
  checkInputs,
  checkNames,
  checkNeeds,
  checkOutputs,
  checkRun,
  isRecord,
  shown,
  type Wrong,
} from "./check.ts";
import { placeOf } from "./check-place.ts";
import { groupOf } from "./concurrency.ts";
import type { JobFunction } from "./function-step.ts";
import type { CommandRun, OptionsOfJob, PlaceOfJob } from "./job-options.ts";
import { secretFilesOf } from "./job-secrets.ts";
import { callSite, type Location } from "./location.ts";
import { withLocation } from "./marked.ts";
import { notifyOf } from "./notify.ts";
import { RecipeError } from "./recipe-error.ts";
import type { JobResult } from "./result.ts";
import { retryOf } from "./retry.ts";
import { isSchema, type SchemaOutput, type StandardSchema } from "./schema.ts";
import { checkRule } from "./selector.ts";
import { checkStdin } from "./stdin.ts";
import { stepsOf } from "./steps.ts";
import { timeoutsOf } from "./timeout.ts";
import { variablesOf } from "./variables.ts";

const JOB = Symbol.for("sortie.job");
const MATRIX = Symbol.for("sortie.matrix");
declare const OUTPUT: unique symbol;

/** What a job of commands is: see `job()`. */
export type JobOptions = OptionsOfJob<readonly Need[], ResultsOf<readonly Need[]>, CommandRun, OutputAs, never>;

/** Of any job: a function is called with what its own job gives it. */
export type AnyJobOptions = OptionsOfJob<
  readonly Need[],
  readonly never[],
  CommandRun | ((context: never) => unknown),
  OutputAs,
  string
>;

/** A job of a recipe: what `job()` gives, and what `needs` takes. `Output` is what jobs that need it get of it. */
export interface Job<out Output = unknown> {
  readonly [JOB]: true;
  readonly options: AnyJobOptions;
  readonly location: Location | undefined;
  /** For the compiler alone. */
  readonly [OUTPUT]?: Output;
}

/** Jobs that a matrix made, one a cell: what `matrix()` gives, and what `needs` takes. */
export interface Matrix<out Output = unknown> {
  readonly [MATRIX]: true;
  /** Each under what its name ends with: `node=24,os=linux`. */
  readonly jobs: Readonly<Record<string, Job<Output>>>;
  readonly location: Location | undefined;
}

/** What a job can need. */
export type Need = Job | Matrix;

/** What comes of one of `needs`: of a matrix, by cell. */
export type ResultOf<Needed> =
  Needed extends Matrix<infer Output>
    ? Readonly<Record<string, JobResult<Output>>>
    : Needed extends Job<infer Output>
      ? JobResult<Output>
      : never;

/** What comes of `needs`, in their order. */
export type ResultsOf<Needs extends readonly Need[]> = { readonly [Index in keyof Needs]: ResultOf<Needs[Index]> };

/** What a command job's output can be: see the option `output`. */
export type OutputAs = "text" | "lines" | "json" | StandardSchema;

type OutputOfCommand<As> = As extends "text"
  ? string
  : As extends "lines"
    ? readonly string[]
    : As extends "json"
      ? unknown
      : As extends StandardSchema
        ? SchemaOutput<As>
        : undefined;

/** Jobs that a function gives join the run: what needs it sees what came of them. */
type OutputOfFunction<Returned> =
  Returned extends Readonly<Record<string, Need>>
    ? { readonly [Name in keyof Returned]: ResultOf<Returned[Name]> }
    : Returned;

/** In place of what a function gives, where there is none. */
interface NoFunction {
  readonly [OUTPUT]: "none";
}

type OutputOf<Returned, As> = [Returned] extends [NoFunction] ? OutputOfCommand<As> : OutputOfFunction<Returned>;

const jobNames = [
  ...["run", "needs", "on", "also", "if", "output", "env", "cwd", "timeout", "grace", "lease", "concurrency"],
  ...["retry", "allowFailure", "always", "priority", "slots", "inputs", "outputs", "secrets", "stdin", "notify"],
  ...["container", "ssh", "user", "limits", "nice", "umask"],
] as (keyof AnyJobOptions)[];

const placeNames = [
  ...["on", "env", "secrets", "cwd", "slots"],
  ...["container", "ssh", "user", "limits", "nice", "umask"],
] as (keyof PlaceOfJob)[];

/** Jobs that always run see also what did not pass. */
type Seen<Needs extends readonly Need[], Always> = Always extends true
  ? { readonly [Index in keyof Needs]: ResultOf<MayLack<Needs[Index]>> }
  : ResultsOf<Needs>;
type MayLack<Needed> =
  Needed extends Matrix<infer Output>
    ? Matrix<Output | undefined>
    : Needed extends Job<infer Output>
      ? Job<Output | undefined>
      : never;

/**
 * Describes a job. What is wrong with it is thrown at once, so that the error points at this very line.
 * @example const test = job({ needs: [build], on: { os: "linux" }, timeout: "10m", run: sh`npm test` });
 * @example const version = job({ run: async ({ $ }) => (await $`git describe --tags`.text()) });
 */
export function job<
  const Needs extends readonly Need[] = readonly [],
  const Returned = NoFunction,
  const As extends OutputAs | undefined = undefined,
  const Also extends string = never,
  const Always extends boolean = false,
  const Allowed extends boolean = false,
>(
  options: OptionsOfJob<
    Needs,
    Seen<Needs, Always>,
    CommandRun | JobFunction<Seen<Needs, Always>, Also, Returned>,
    As,
    Also
  > & {
    readonly always?: Always;
    readonly allowFailure?: Allowed;
  },
): Job<OutputOf<Returned, As> | (Allowed extends true ? undefined : never)> {
  const location = callSite(job);
  const wrong: Wrong = (message) => new RecipeError(message, location, "job");
  if (!isRecord(options)) throw wrong("job() takes an object of options.");
  checkNames("job()", options, jobNames, wrong);
  const { run, needs, timeout, concurrency, grace, lease, retry, allowFailure, always, priority } =
    options as AnyJobOptions;
  const { output, also, inputs, outputs, stdin, if: condition } = options as AnyJobOptions;
  if (typeof run !== "function") checkRun(run, wrong);
  checkNeeds(needs, (need) => isJob(need) || isMatrix(need), wrong);
  timeoutsOf(timeout, typeof run === "function", wrong);
  if (concurrency !== undefined) groupOf(concurrency, wrong);
  if (lease !== "none") checkDuration("lease", lease, wrong);
  if (lease !== undefined && lease !== "none" && (parseDuration(lease) ?? 0) < limits.leaseMinimumMs)
    throw wrong(`lease must be at least ${limits.leaseMinimumMs / 1_000} s.`);
  checkDuration("grace", grace, wrong);
  if (retry !== undefined) retryOf(retry, wrong);
  checkFlag("allowFailure", allowFailure, wrong);
  checkFlag("always", always, wrong);
  if (priority !== undefined && !Number.isFinite(priority))
    throw wrong(`priority must be a number, not ${shown(priority)}.`);
  if (condition !== undefined && typeof condition !== "function")
    throw wrong(`if must be a function, not ${shown(condition)}.`);
  notifyOf((options as AnyJobOptions).notify, wrong);
  checkInputs(inputs, wrong);
  checkOutputs(outputs, wrong);
  checkStdin(stdin, typeof run === "function" ? 0 : stepsOf(run).length, wrong);
  checkOutput(output, run, wrong);
  checkAlso(also, run, wrong);
  checkPlace(options as AnyJobOptions, wrong);
  // Copies: what is changed afterwards would not have been checked. (needs stays: its jobs are looked up by the plan.)
  const { needs: _, output: __, ...checked } = options as AnyJobOptions;
  const kept = {
    ...frozenCopy(checked),
    ...(needs ? { needs: needs as readonly Need[] } : {}),
    ...(output === undefined ? {} : { output }),
  };
  return withLocation({ [JOB]: true as const, options: Object.freeze(kept) }, location);
}

/** @internal */
export const isJob = (value: unknown): value is Job => isRecord(value) && JOB in value;
/** @internal */
export const isMatrix = (value: unknown): value is Matrix => isRecord(value) && MATRIX in value;
/** @internal What matrix() gives. */
export const matrixOf = (jobs: Readonly<Record<string, Job>>, location: Location | undefined): Matrix =>
  withLocation({ [MATRIX]: true as const, jobs: Object.freeze(jobs) }, location);

function checkOutput(output: unknown, run: unknown, wrong: Wrong): void {
  if (output === undefined) return;
  if (typeof run === "function") throw wrong("output is for commands: what a function gives is its output.");
  if (!["text", "lines", "json"].includes(output as string) && !isSchema(output))
    throw wrong(`output must be "text", "lines", "json" or a schema, not ${shown(output)}.`);
}

function checkAlso(also: unknown, run: unknown, wrong: Wrong): void {
  if (also === undefined) return;
  if (typeof run !== "function") throw wrong("also is for jobs whose run is a function.");
  if (!isRecord(also)) throw wrong(`also must be an object of places, not ${shown(also)}.`);
  if (Object.keys(also).length >= limits.placesPerJob)
    throw wrong(`a job has at most ${limits.placesPerJob} places, its own included.`);
  for (const [name, place] of Object.entries(also)) {
    const wrongThere: Wrong = (message) => wrong(`also.${name}: ${message}`);
    if (!/^[A-Za-z_][A-Za-z0-9_]{0,30}$/.test(name))
      throw wrong(`also has a name that cannot be: ${JSON.stringify(name)}; letters, digits and _, a letter first.`);
    if (!isRecord(place)) throw wrongThere(`a place is an object of options, not ${shown(place)}.`);
    checkNames("a place", place, placeNames, wrongThere);
    checkPlace(place, wrongThere);
  }
}

/** What a job and each of its other places have. */
function checkPlace({ on, env, secrets, cwd, slots, ...place }: PlaceOfJob, wrong: Wrong): void {
  checkSelection(on, wrong);
  variablesOf("env", env, wrong);
  secretFilesOf(secrets, env, wrong);
  if (cwd !== undefined && !(typeof cwd === "string" && cwd.startsWith("/")))
    throw wrong(`cwd must be an absolute path, not ${shown(cwd)}.`);
  if (slots !== undefined && !(Number.isInteger(slots) && slots >= 1 && slots <= limits.slots))
    throw wrong(`slots must be a whole number from 1 to ${limits.slots}, not ${shown(slots)}.`);
  placeOf(place, wrong);
}

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

// What `import { job, recipe, sh } from "sortie"` gives. Jobs are plain frozen values that are checked when they are
// made, so an error points at the line of the recipe that made them. Marks are registered symbols: a recipe's copy
// of this module and the coordinator's own understand each other.

import { parseDuration } from "./duration.ts";
import { callSite, type Location } from "./location.ts";
import { RecipeError } from "./recipe-error.ts";
import { isShellCommand, type ShellCommand } from "./shell.ts";

export { type ShellCommand, type ShellValue, sh } from "./shell.ts";

const JOB = Symbol.for("sortie.job");
const RECIPE = Symbol.for("sortie.recipe");

/** Milliseconds, or a number with a unit: `"90s"`, `"10m"`, `"1h30m"`, `"500ms"`. */
export type Duration = number | string;

/** A program and its arguments; no shell sees them. */
export type Argv = readonly [program: string, ...args: string[]];
/** One command of a job that has several. */
export type Step = ShellCommand | Argv;

/** What a job is. */
export interface JobOptions {
  /**
   * The command: a shell string (run by `/bin/sh -c`), an `sh` template, or argv. Several steps are a list of `sh`
   * templates and argv lists; they run one after the other in the same working directory, and the first that does
   * not exit 0 ends the job.
   * @example run: "npm test | tee log"
   * @example run: ["npm", "test"]
   * @example run: [sh`npm ci`, ["npm", "test"]]
   */
  readonly run: string | ShellCommand | Argv | readonly Step[];
  /** Jobs that must pass first, by value. Default: none. */
  readonly needs?: readonly Job[];
  /** The runner it asks for: labels that must all be equal, or `{ runner: NAME }`. Default: any runner. */
  readonly on?: Readonly<Record<string, string>>;
  /** Variables added to the job's clean environment. Names that begin with `SORTIE_` are Sortie's own. */
  readonly env?: Readonly<Record<string, string>>;
  /** An absolute path on the runner. Default: a fresh directory, removed after the job. */
  readonly cwd?: string;
  /** For all steps together; then the job is ended and its exit says `timeout`. Default: none. */
  readonly timeout?: Duration;
  /** From TERM to KILL when the job is cancelled or its time is up. Default: 5 seconds. */
  readonly grace?: Duration;
}

/** A job of a recipe: what `job()` gives, and what `needs` takes. */
export interface Job {
  readonly [JOB]: true;
  readonly options: JobOptions;
  readonly location: Location | undefined;
}

/** What a recipe's default export must be. */
export interface Recipe {
  readonly [RECIPE]: true;
  readonly jobs: Readonly<Record<string, Job>>;
  readonly location: Location | undefined;
}

const jobOptions = ["run", "needs", "on", "env", "cwd", "timeout", "grace"];

/**
 * Describes a job. Throws an error that names the option where one is unknown or wrong.
 * @example const test = job({ needs: [build], on: { os: "linux" }, timeout: "10m", run: sh`npm test` });
 */
export function job(options: JobOptions): Job {
  const location = callSite(job);
  const wrong = (message: string): RecipeError => new RecipeError(message, location);
  if (!isRecord(options)) throw wrong("job() takes an object of options.");
  for (const name of Object.keys(options)) {
    if (!jobOptions.includes(name))
      throw wrong(`job() has no option ${JSON.stringify(name)}; it has ${jobOptions.join(", ")}.`);
  }
  checkRun(options.run, wrong);
  const { needs, on, env, cwd, timeout, grace } = options as JobOptions;
  if (needs !== undefined && !(Array.isArray(needs) && needs.every(isJob))) {
    throw wrong("needs must be a list of jobs (the values that job() gave, not their names).");
  }
  checkStrings("on", on, wrong);
  checkStrings("env", env, wrong);
  if (cwd !== undefined && !(typeof cwd === "string" && cwd.startsWith("/")))
    throw wrong("cwd must be an absolute path.");
  for (const [name, value] of [
    ["timeout", timeout],
    ["grace", grace],
  ] as const) {
    if (value === undefined) continue;
    const milliseconds = parseDuration(value);
    if (milliseconds === undefined)
      throw wrong(`${name} must be milliseconds or a duration such as "90s" or "10m", not ${JSON.stringify(value)}.`);
    if (name === "timeout" && milliseconds < 1) throw wrong("timeout must be at least a millisecond.");
  }
  return withLocation({ [JOB]: true as const, options: Object.freeze({ ...options }) }, location);
}

/**
 * Describes a recipe: its jobs by name.
 * @example export default recipe({ build, test });
 */
export function recipe(jobs: Readonly<Record<string, Job>>): Recipe {
  const location = callSite(recipe);
  if (!isRecord(jobs)) throw new RecipeError("recipe() takes an object of jobs.", location);
  for (const [name, value] of Object.entries(jobs)) {
    if (!isJob(value))
      throw new RecipeError(`${JSON.stringify(name)} is not a job: recipe() takes values that job() gave.`, location);
  }
  return withLocation({ [RECIPE]: true as const, jobs: Object.freeze({ ...jobs }) }, location);
}

export const isJob = (value: unknown): value is Job => isRecord(value) && JOB in value;
export const isRecipe = (value: unknown): value is Recipe => isRecord(value) && RECIPE in value;

function checkRun(run: unknown, wrong: (message: string) => RecipeError): void {
  if (typeof run === "string") {
    if (run.trim() === "") throw wrong("run is an empty command.");
    return;
  }
  if (isShellCommand(run)) return;
  if (!Array.isArray(run)) throw wrong("run must be a shell string, an sh template, argv, or a list of steps.");
  if (run.length === 0) throw wrong("run is an empty list.");
  if (run.every((part) => typeof part === "string")) {
    const [program = ""] = run;
    if (program.trim() === "") throw wrong("run has no program at the beginning of its argv.");
    if (/\s/.test(program)) {
      throw wrong(
        `A list of strings is argv, and there is no program ${JSON.stringify(program)}; for several steps write [sh\`…\`, sh\`…\`].`,
      );
    }
    return;
  }
  for (const [index, step] of run.entries()) {
    const isArgv = Array.isArray(step) && step.length > 0 && step.every((part) => typeof part === "string");
    if (!isArgv && !isShellCommand(step)) throw wrong(`Step ${index + 1} of run must be an sh template or argv.`);
  }
}

function checkStrings(option: string, value: unknown, wrong: (message: string) => RecipeError): void {
  if (value === undefined) return;
  if (!isRecord(value)) throw wrong(`${option} must be an object of strings.`);
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string")
      throw wrong(`${option}.${name} must be a string, not ${text === null ? "null" : typeof text}.`);
  }
}

/** Kept out of sight when the value is printed. */
function withLocation<T extends object>(
  value: T,
  location: Location | undefined,
): T & { readonly location: Location | undefined } {
  Object.defineProperty(value, "location", { value: location, enumerable: false });
  return Object.freeze(value) as T & { readonly location: Location | undefined };
}

const isRecord = (value: unknown): value is Record<PropertyKey, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

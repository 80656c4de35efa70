// `recipe()`: names the jobs, or makes them of params. What it gives is a recipe's default export.
import { checkNames, checkStrings, isRecord, shown, type Wrong } from "./check.ts";
import { isJob, isMatrix, type Job, type Matrix } from "./job.ts";
import { callSite, type Location } from "./location.ts";
import { withLocation } from "./marked.ts";
import { type Notify, type NotifyOptions, notifyOf } from "./notify.ts";
import { RecipeError } from "./recipe-error.ts";
import { isSchema, type SchemaInput, type SchemaOutput, type StandardSchema } from "./schema.ts";

const RECIPE = Symbol.for("sortie.recipe");

/** Jobs, each under the name that it goes by everywhere. Those of a matrix are `test[node=24,os=linux]` and so on. */
export type Jobs = Readonly<Record<string, Job | Matrix>>;

/** What a recipe's default export must be; or a recipe with params. */
export interface Recipe {
  readonly [RECIPE]: true;
  readonly jobs: Readonly<Record<string, Job>>;
  readonly notify: readonly Notify[];
  readonly location: Location | undefined;
}

/** Options of a recipe. */
export interface RecipeOptions {
  /**
   * Who is told how a run of the recipe came out. Default: nobody.
   * @example recipe({ build, test }, { notify: { url: secret("HOOK_URL"), on: ["failed", "passed"] } })
   */
  readonly notify?: NotifyOptions | readonly NotifyOptions[];
}

/** What a recipe with params is made of. */
export interface ParamsOptions<Schema extends StandardSchema> extends RecipeOptions {
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
  readonly notify: readonly Notify[];
  readonly location: Location | undefined;
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
export function recipe(jobs: Jobs, options?: RecipeOptions): Recipe;
export function recipe(
  options: Jobs | ParamsOptions<StandardSchema>,
  more: RecipeOptions = {},
): Recipe | RecipeWithParams {
  const location = callSite(recipe);
  const wrong: Wrong = (message) => new RecipeError(message, location, "recipe");
  if (isRecord(options) && hasParams(options)) {
    checkNames("recipe()", options, paramsNames, wrong);
    const { params, env, jobs } = options;
    if (!isSchema(params))
      throw wrong(`params must be a schema (of valibot, zod, arktype or the like), not ${shown(params)}.`);
    if (typeof jobs !== "function") throw wrong("jobs must be a function that makes the jobs of the params.");
    checkStrings("env", env, wrong);
    const notify = notifyOf(options.notify, wrong);
    const kept = { [RECIPE]: true as const, params, jobs, notify, ...(env ? { env: Object.freeze({ ...env }) } : {}) };
    return withLocation(kept, location);
  }
  if (!isRecord(more)) throw wrong("recipe() takes an object of options behind the jobs.");
  checkNames("recipe()", more, ["notify"], wrong);
  const notify = notifyOf(more.notify, wrong);
  return withLocation({ [RECIPE]: true as const, jobs: checkedJobs(options, location), notify }, location);
}

const paramsNames = ["params", "env", "jobs", "notify"] satisfies (keyof ParamsOptions<StandardSchema>)[];

/** A job may be called `params`, or `jobs`, too. */
const hasParams = (options: object): options is ParamsOptions<StandardSchema> =>
  ("params" in options && !isJob(options.params) && !isMatrix(options.params)) ||
  ("jobs" in options && typeof options.jobs === "function");

/** @internal Whether a function gave jobs; checkedJobs() tells whether it gave them as it should. */
export const givesJobs = (value: unknown): boolean =>
  typeof value === "object" && value !== null && (isOne(value) || Object.values(value).some(isOne));

const isOne = (value: unknown): boolean => isJob(value) || isMatrix(value);

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
export const recipeOf = (
  { jobs, notify, location }: Pick<RecipeWithParams, "jobs" | "notify" | "location">,
  params: unknown,
): Recipe => withLocation({ [RECIPE]: true as const, jobs: checkedJobs(jobs(params), location), notify }, location);

/** @internal */
export const isRecipe = (value: unknown): value is Recipe | RecipeWithParams => isRecord(value) && RECIPE in value;
/** @internal */
export const takesParams = (recipe: Recipe | RecipeWithParams): recipe is RecipeWithParams => "params" in recipe;

// Loads a recipe file, by Node alone or with tsx, and lists recipes without running them. `coordinator run` calls both.
// Whatever goes wrong becomes an error that points at the person's own line: see load-error.ts and guard.ts.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { closest } from "../../protocol/closest.ts";
import { SortieError } from "../../protocol/errors.ts";
import { oneLine } from "../../protocol/text.ts";
import type { GivenParam } from "../given-params.ts";
import { checkSource } from "./check-source.ts";
import { guarded } from "./guard.ts";
import { isJob } from "./job.ts";
import { loadError } from "./load-error.ts";
import { importNatively } from "./native.ts";
import { nearest } from "./nearest.ts";
import { provideSdk } from "./own-sdk.ts";
import { validateParams, withEnvironment, wrongParams } from "./params.ts";
import { isRecipe, type Recipe, type RecipeWithParams, recipeOf, takesParams } from "./recipe.ts";
import { mayRepeatName } from "./repeated-name.ts";
import { importWithTsx } from "./tsx.ts";

const EXTENSIONS = [".ts", ".mts", ".cts", ".js", ".mjs", ".cjs"];

export interface LoadedRecipe {
  /** Absolute. */
  readonly path: string;
  readonly recipe: Recipe;
  /** The file's text: errors name a job by what stands there. */
  readonly source: string;
  /** Its params as its schema made them; empty where it takes none. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Its params as they were given, where it takes some. */
  readonly params?: readonly GivenParam[];
}

export interface LoadOptions {
  /** Ends the waiting for a recipe that awaits something at its top level. */
  readonly signal?: AbortSignal;
  /** Params from the command line, or of a run that is gone on with. */
  readonly params?: readonly GivenParam[];
  /** Told the path of every file that the recipe is made of, as far as it was loaded: itself, and what it imports. */
  readonly onImport?: (file: string) => void;
  /** Where a recipe finds params that it takes from the environment. Default: the process's. */
  readonly environment?: NodeJS.ProcessEnv;
}

/**
 * Loads the recipe at `path`, and makes its jobs of the params. Rejects with one of the RECIPE_ codes, or INTERRUPTED
 * when `signal` is aborted.
 */
export async function loadRecipe(path: string, options: LoadOptions = {}): Promise<LoadedRecipe> {
  return loadedOf(await importRecipe(path, options), options);
}

/** A recipe as its file exports it. */
export interface ImportedRecipe {
  readonly file: string;
  readonly source: string;
  readonly recipe: Recipe | RecipeWithParams;
}

/** The jobs that the params make of it. Rejects as loadRecipe does. */
export async function loadedOf({ file, source, recipe }: ImportedRecipe, options: LoadOptions): Promise<LoadedRecipe> {
  const given = options.params ?? [];
  if (!takesParams(recipe)) {
    if (given.length > 0) throw wrongParams(`The recipe takes no params; ${given[0]?.key} is given.`, recipe.location);
    return { path: file, recipe, source, values: {} };
  }
  const { location } = recipe;
  const params = withEnvironment(given, recipe.env ?? {}, options.environment ?? process.env, location);
  try {
    return await guarded(
      async () => {
        const values = (await validateParams(recipe.params, params, location)) as Record<string, unknown>;
        return { path: file, recipe: recipeOf(recipe, values), source, params, values };
      },
      { file, source, signal: options.signal },
    );
  } catch (error) {
    throw loadError(error, file, source);
  }
}

/** The recipe as its file exports it, before anything is known of its params. Rejects as loadRecipe does. */
export async function importRecipe(
  path: string,
  options: Pick<LoadOptions, "signal" | "onImport"> = {},
): Promise<ImportedRecipe> {
  const file = recipeFile(path);
  const source = readFileSync(file, "utf8");
  await provideSdk();
  if (mayRepeatName(source)) await checkSource(source, file);
  // The recipe's own project's, wherever the command is run.
  const tsconfig = nearest(dirname(file), "tsconfig.json") ?? false;
  const { signal, onImport } = options;
  const load = (): Promise<object> =>
    importNatively(file, tsconfig, onImport).then(
      (module) => module ?? checkSource(source, file).then(() => importWithTsx(file, tsconfig, onImport)),
    );
  let module: { default?: unknown };
  try {
    module = await guarded(load, { file, source, signal });
  } catch (error) {
    throw loadError(error, file, source);
  }
  return { file, source, recipe: exportedBy(module, path) };
}

/** Throws RECIPE_INVALID where it is no recipe. */
export function exportedBy(module: { default?: unknown }, path: string): Recipe | RecipeWithParams {
  // A CommonJS recipe's exports come as the default of the default.
  const inner = (module.default as { default?: unknown } | null | undefined)?.default;
  const exported = isRecipe(module.default) || inner === undefined ? module.default : inner;
  if (isRecipe(exported)) return exported;
  throw new SortieError("RECIPE_INVALID", `${path} ${whatIsExported(exported)}.`, {
    at: { file: resolve(path), line: 1 },
    hint: "End it with: export default recipe({ … });",
  });
}

/** The recipe's absolute path. Throws RECIPE_NOT_FOUND and RECIPE_INVALID. */
export function recipeFile(path: string): string {
  const file = resolve(path);
  if (!existsSync(file)) throw notFound(path, file);
  if (!EXTENSIONS.includes(extname(file)))
    throw new SortieError("RECIPE_INVALID", `${path} is not a recipe: its name must end in ${EXTENSIONS.join(", ")}.`);
  if (!statSync(file).isFile()) throw new SortieError("RECIPE_INVALID", `${path} is not a file.`);
  return file;
}

function whatIsExported(exported: unknown): string {
  if (exported === undefined) return "has no default export";
  if (isJob(exported)) return "exports a job by default, which recipe() must make a recipe of";
  return `exports ${exported instanceof Promise ? "a promise" : "something"} by default that recipe() did not make`;
}

/** Recipes in a folder, each with the first line of its doc comment, without running any. */
export function listRecipes(folder: string): { readonly path: string; readonly summary: string }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && EXTENSIONS.includes(extname(entry.name)))
    .map((entry) => join(folder, entry.name))
    .filter((path) => !/\.d\.[mc]?ts$/.test(path) && existsSync(path))
    .sort()
    .map((path) => ({ path, source: readFileSync(path, "utf8") }))
    .filter(({ source }) => /\bexport\s+default\b|\bas\s+default\b|\bexports\b/.test(source))
    .map(({ path, source }) => ({ path, summary: summaryOf(source) }));
}

function summaryOf(source: string): string {
  const comment =
    /^\s*(?:#![^\n]*\n\s*)?\/\*\*([\s\S]*?)\*\//.exec(source)?.[1] ??
    /^\s*(?:#![^\n]*\n\s*)?\/\/([^\n]*)/.exec(source)?.[1] ??
    "";
  const first = comment
    .split("\n")
    .map((line) => line.replace(/^\s*\*?\s?/, "").trim())
    .find((line) => line !== "");
  return oneLine(first ?? "");
}

function notFound(path: string, file: string): SortieError {
  const near = existsSync(dirname(file))
    ? closest(
        basename(file),
        readdirSync(dirname(file)).filter((name) => EXTENSIONS.includes(extname(name))),
      )
    : undefined;
  return new SortieError(
    "RECIPE_NOT_FOUND",
    `There is no file ${path}.`,
    near ? { hint: `Did you mean ${join(dirname(path), near)}?` } : {},
  );
}

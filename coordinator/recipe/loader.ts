// Loads a recipe file with tsx, and turns whatever goes wrong into an error that points at the person's own line.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, extname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { SortieError } from "../../protocol/errors.ts";
import { oneLine } from "../../protocol/text.ts";
import { closest } from "../closest.ts";
import { framesOf, type Location } from "./location.ts";
import { isRecipeError } from "./recipe-error.ts";
import { isRecipe, type Recipe } from "./sdk.ts";

const EXTENSIONS = [".ts", ".mts", ".js", ".mjs"];

export interface LoadedRecipe {
  readonly path: string;
  readonly recipe: Recipe;
}

/** Loads the recipe at `path`. Rejects with one of the RECIPE_ codes. */
export async function loadRecipe(path: string): Promise<LoadedRecipe> {
  const file = resolve(path);
  if (!existsSync(file)) throw notFound(path, file);
  if (!EXTENSIONS.includes(extname(file))) {
    throw new SortieError("RECIPE_INVALID", `${path} is not a recipe: its name must end in ${EXTENSIONS.join(", ")}.`);
  }
  await checkSource(file);
  let module: { default?: unknown };
  try {
    const { tsImport } = await import("tsx/esm/api");
    module = await tsImport(pathToFileURL(file).href, import.meta.url);
  } catch (error) {
    throw loadError(error, file);
  }
  // A CommonJS recipe's exports come as the default of the default.
  const exported = isRecipe(module.default)
    ? module.default
    : (module.default as { default?: unknown } | undefined)?.default;
  if (!isRecipe(exported)) {
    const what =
      module.default === undefined
        ? "has no default export"
        : "exports something by default that recipe() did not make";
    throw new SortieError("RECIPE_INVALID", `${path} ${what}.`, {
      at: { file, line: 1 },
      hint: "End it with: export default recipe({ … });",
    });
  }
  return { path: file, recipe: exported };
}

/** Recipes in a folder, each with the first line of its doc comment, without running any. */
export function listRecipes(folder: string): { readonly path: string; readonly summary: string }[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => EXTENSIONS.includes(extname(name)) && !name.endsWith(".d.ts"))
    .sort()
    .map((name) => ({ path: join(folder, name), summary: summaryOf(readFileSync(join(folder, name), "utf8")) }));
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

/**
 * What only the source shows: a syntax error with its place, and a name given twice, of which JavaScript silently
 * takes the last.
 */
async function checkSource(file: string): Promise<void> {
  const { transform } = await import("esbuild");
  const loader = extname(file).endsWith("ts") ? "ts" : "js";
  try {
    const { warnings } = await transform(readFileSync(file, "utf8"), { loader, sourcefile: file, logLevel: "silent" });
    const double = warnings.find((warning) => warning.id === "duplicate-object-key");
    if (double)
      throw new SortieError(
        "RECIPE_INVALID",
        `${double.text.replace(/ in object literal$/, "")}: a name can stand only once.`,
        { at: placeOf(double.location, file) },
      );
  } catch (error) {
    if (error instanceof SortieError) throw error;
    const [first] =
      (error as { errors?: { text: string; location: { line: number; column: number } | null }[] }).errors ?? [];
    if (!first) throw error;
    throw new SortieError("RECIPE_SYNTAX", `The recipe is not valid TypeScript: ${oneLine(first.text)}.`, {
      at: placeOf(first.location, file),
    });
  }
}

const placeOf = (location: { line: number; column: number } | null, file: string) => ({
  file,
  line: location?.line ?? 1,
  column: (location?.column ?? 0) + 1,
});

function loadError(error: unknown, file: string): SortieError {
  if (isRecipeError(error))
    return new SortieError("RECIPE_INVALID", error.message, { at: error.location ?? { file, line: 1 }, cause: error });
  if (!(error instanceof Error))
    return new SortieError("RECIPE_THREW", `The recipe threw ${oneLine(String(error))}.`, { at: { file, line: 1 } });
  const syntax = /^(?:.*\n)?(\/[^\n]*?):(\d+):(\d+): ERROR: ([^\n]*)/.exec(error.message);
  if (syntax?.[1]) {
    const at = { file: syntax[1], line: Number(syntax[2]), column: Number(syntax[3]) + 1 };
    return new SortieError(
      "RECIPE_SYNTAX",
      `The recipe's import is not valid TypeScript: ${oneLine(syntax[4] ?? "")}.`,
      { at, cause: error },
    );
  }
  return new SortieError("RECIPE_THREW", `The recipe threw ${error.name}: ${oneLine(error.message)}.`, {
    at: ownFrame(error, file),
    cause: error,
  });
}

/** The topmost frame that is the person's: neither Node's nor a package's. */
function ownFrame(error: Error, file: string): Location | { file: string; line: number } {
  const frames = framesOf(error.stack ?? "");
  return (
    frames.find((frame) => frame.file === file) ??
    frames.find((frame) => !frame.file.includes("/node_modules/")) ?? { file, line: 1 }
  );
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

// Whatever a recipe throws while it is loaded, as one sentence and the person's own line. The loader calls it.
import { basename, extname } from "node:path";
import { inspect } from "node:util";
import { SortieError } from "../../protocol/errors.ts";
import { oneLine } from "../../protocol/text.ts";
import { isPackage, nameAt } from "./location.ts";
import { importOf, ownFrame } from "./own-place.ts";
import { isRecipeError } from "./recipe-error.ts";

export function loadError(error: unknown, file: string, source: string): SortieError {
  if (error instanceof SortieError) return error;
  const whole = { file, line: 1 };
  if (isRecipeError(error)) {
    const { location, making, message } = error;
    const name = making === "job" && location?.file === file ? nameAt(source, location) : undefined;
    return new SortieError("RECIPE_INVALID", name ? `${name}: ${message}` : message, {
      at: location ?? whole,
      cause: error,
    });
  }
  if (!(error instanceof Error))
    return new SortieError("RECIPE_THREW", `The recipe threw ${oneLine(inspect(error, { depth: 1 }))}.`, { at: whole });
  return (
    syntaxError(error) ??
    notFound(error) ??
    noExport(error) ??
    new SortieError("RECIPE_THREW", `The recipe threw ${sentence(`${error.name}: ${error.message}`)}`, {
      at: ownFrame(behindMessage(error), file) ?? whole,
      cause: error,
    })
  );
}

const sentence = (text: string): string => `${oneLine(text).replace(/[.\s]+$/, "")}.`;

/** The stack without its message, which may hold anything. */
function behindMessage({ stack = "", message }: Error): string {
  const start = stack.indexOf(message);
  return start === -1 ? stack : stack.slice(start + message.length);
}

/** A file that the recipe imports is not valid; esbuild says where. */
function syntaxError(error: Error): SortieError | undefined {
  const [, path, line, column, text = ""] =
    /^(?:.*\n)?(\/[^\n]*?):(\d+):(\d+): ERROR: ([^\n]*)/.exec(error.message) ?? [];
  if (path === undefined) return undefined;
  const language = extname(path) === ".json" ? "JSON" : "TypeScript";
  return new SortieError(
    "RECIPE_SYNTAX",
    `The recipe's import ${basename(path)} is not valid ${language}: ${sentence(text)}`,
    { at: { file: path, line: Number(line), column: Number(column) + 1 }, cause: error },
  );
}

/** An import that Node could not resolve; the error names the importing file, and no line. */
function notFound(error: Error): SortieError | undefined {
  if ((error as NodeJS.ErrnoException).code !== "ERR_MODULE_NOT_FOUND") return undefined;
  const [, missing, importer] = /^Cannot find (?:package|module) '(.*?)' imported from (.*)$/.exec(error.message) ?? [];
  if (missing === undefined || importer === undefined || isPackage(importer)) return undefined;
  const found = importOf(missing, importer);
  return new SortieError(
    "RECIPE_THREW",
    `The recipe imports ${sentence(`${found?.specifier ?? missing}, which cannot be found`)}`,
    { at: found?.at ?? { file: importer, line: 1 }, hint: "Correct its name, or install it.", cause: error },
  );
}

/** An import of a name that the module does not have; Node puts the place before the stack. */
function noExport(error: Error): SortieError | undefined {
  const [, from, name] =
    /^The requested module '(.*?)' does not provide an export named '(.*?)'$/.exec(error.message) ?? [];
  const [, path, line, marker] = /^(\/.*):(\d+)\n.*\n( *)\^/.exec(error.stack ?? "") ?? [];
  if (from === undefined || path === undefined || isPackage(path)) return undefined;
  return new SortieError(
    "RECIPE_THREW",
    `The recipe imports ${name} from ${sentence(`${from}, which has no such export`)}`,
    {
      at: { file: path, line: Number(line), column: (marker ?? "").length + 1 },
      hint: from === "sortie" ? 'docs/recipes.md shows what "sortie" gives.' : "Correct the line named.",
      cause: error,
    },
  );
}

// What `coordinator run RECIPE --help` tells of the recipe's params.
import { asSortieError } from "../protocol/errors.ts";
import { oneLine } from "../protocol/text.ts";
import { importRecipe } from "./recipe/loader.ts";
import { takesParams } from "./recipe/recipe.ts";
import { type Field, fieldsOf } from "./recipe/schema-fields.ts";
import { table } from "./views/format.ts";

/** Never rejects: help is help although a recipe cannot be loaded. */
export async function paramsHelp(path: string, words: readonly string[] = []): Promise<string> {
  try {
    const { isParameterized, fields, variables } = await describe(path, words);
    if (!isParameterized) return `${path} takes no params.`;
    if (!fields) return `${path} takes params, but its schema does not tell which.`;
    if (fields.length === 0) return `${path} takes no params.`;
    const rows = fields.map((field) => [field.key, ...wordsOf(field, variables[field.key])]);
    return `Params of ${path}, each given by --set KEY=VALUE or --set-file KEY=PATH:\n${table(rows)
      .split("\n")
      .map((line) => `  ${line}`)
      .join("\n")}`;
  } catch (error) {
    return `The params of ${path} are not known: ${oneLine(asSortieError(error).message)}`;
  }
}

/** `words` are the command line's: with --sandbox the recipe is loaded in one. */
async function describe(path: string, words: readonly string[]) {
  if (words.includes("--sandbox")) {
    const [{ describeSandboxed }, { grantsInWords }] = await Promise.all([
      import("./sandbox/sandbox.ts"),
      import("./sandbox/options.ts"),
    ]);
    const { takesParams: isParameterized, ...rest } = await describeSandboxed(path, {
      grants: await grantsInWords(words),
    });
    return { isParameterized, ...rest };
  }
  const { recipe } = await importRecipe(path);
  if (!takesParams(recipe)) return { isParameterized: false, fields: [], variables: {} };
  const variables: Readonly<Record<string, string | undefined>> = recipe.env ?? {};
  return { isParameterized: true, fields: fieldsOf(recipe.params), variables };
}

function wordsOf(field: Field, variable: string | undefined): string[] {
  const about = [
    ...(field.default === undefined ? [] : [`default: ${JSON.stringify(field.default)}`]),
    ...(field.default === undefined && field.required !== undefined ? [field.required ? "required" : "optional"] : []),
    ...(variable === undefined ? [] : [`or from ${variable}`]),
  ].join(", ");
  return [oneLine(field.type ?? ""), oneLine(about), oneLine(field.description ?? "")];
}

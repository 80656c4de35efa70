// `coordinator check RECIPE`: whether a recipe's types are right and it can be planned. Runs none of its jobs.
import type { Argv } from "yargs";
import { printError } from "../../protocol/command-line.ts";
import { exitCodes } from "../../protocol/errors.ts";
import { planOf } from "../plan.ts";
import { loadRecipe } from "../recipe/loader.ts";
import { checkTypes } from "../recipe/type-check.ts";
import { counted } from "../views/format.ts";

const MOST_ERRORS = 50;

export const builder = (yargs: Argv) =>
  yargs
    .positional("recipe", { type: "string", demandOption: true, describe: "The recipe's file" })
    .example("$0 check recipes/ci.ts", "before it is committed, or run");

export async function handler({ recipe, debug }: { recipe: string; debug?: boolean }): Promise<number> {
  const types = await checkTypes(recipe);
  if (types.kind === "checked" && types.errors.length > 0) {
    for (const error of types.errors.slice(0, MOST_ERRORS)) printError(error, debug === true);
    const more = types.errors.length - MOST_ERRORS;
    process.stderr.write(
      `${recipe}: ${counted(types.errors.length, "error")}${more > 0 ? `, ${more} more than shown` : ""}\n`,
    );
    return exitCodes.usage;
  }
  const { jobs } = planOf(await loadRecipe(recipe));
  const checked = types.kind === "checked" ? `types are right (${types.by})` : `types were not checked: ${types.why}`;
  process.stdout.write(`${recipe}: ${counted(jobs.length, "job")} can be planned; ${checked}\n`);
  return exitCodes.passed;
}

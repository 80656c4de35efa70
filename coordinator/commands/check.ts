// `coordinator check RECIPE`: whether a recipe's types are right and it can be planned. Runs none of its jobs.
import type { Argv } from "yargs";
import { printError } from "../../protocol/command-line.ts";
import { exitCodes } from "../../protocol/errors.ts";
import { loadPlanned } from "../load-planned.ts";
import { checkTypes, type TypeCheck } from "../recipe/type-check.ts";
import { type SandboxOptionsGiven, sandboxOf, sandboxOptions } from "../sandbox/options.ts";
import { counted } from "../views/format.ts";

const MOST_ERRORS = 50;
/** A project's TypeScript is a program of that project, and what may be a recipe's trap. */
const UNCHECKED: TypeCheck = {
  kind: "not-checked",
  why: "its project's TypeScript is code of that project, and runs in no sandbox",
};

export const builder = (yargs: Argv) =>
  yargs
    .positional("recipe", { type: "string", demandOption: true, describe: "The recipe's file" })
    .options(sandboxOptions)
    .example("$0 check recipes/ci.ts", "before it is committed, or run");

export async function handler(options: { recipe: string; debug?: boolean } & SandboxOptionsGiven): Promise<number> {
  const { recipe, debug } = options;
  const sandbox = await sandboxOf(options);
  const types = sandbox ? UNCHECKED : await checkTypes(recipe);
  if (types.kind === "checked" && types.errors.length > 0) {
    for (const error of types.errors.slice(0, MOST_ERRORS)) printError(error, debug === true);
    const more = types.errors.length - MOST_ERRORS;
    process.stderr.write(
      `${recipe}: ${counted(types.errors.length, "error")}${more > 0 ? `, ${more} more than shown` : ""}\n`,
    );
    return exitCodes.usage;
  }
  const { whole, loaded } = await loadPlanned(recipe, {}, sandbox);
  await loaded[Symbol.asyncDispose]();
  const { jobs } = whole;
  const checked = types.kind === "checked" ? `types are right (${types.by})` : `types were not checked: ${types.why}`;
  process.stdout.write(`${recipe}: ${counted(jobs.length, "job")} can be planned; ${checked}\n`);
  return exitCodes.passed;
}

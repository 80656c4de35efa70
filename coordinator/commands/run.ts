// `coordinator run [recipe]`
import { basename, relative } from "node:path";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { parseSilence, silenceOption } from "../options.ts";
import { runToEnd } from "../run-to-end.ts";
import { type Format, formats } from "../views/index.ts";

interface Options {
  readonly recipe: string | undefined;
  readonly "dry-run": boolean;
  readonly format: Format;
  readonly jobs: string | undefined;
  readonly local: boolean;
  readonly detach: boolean;
  readonly "silence-after": string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("recipe", { type: "string", describe: "The recipe's file" })
    .option("dry-run", { type: "boolean", default: false, describe: "Print the plan and run nothing" })
    .option("format", {
      choices: formats,
      default: "auto" as Format,
      describe: "How the run is shown; auto: live in a terminal, plain elsewhere",
    })
    .option("jobs", {
      alias: "j",
      type: "string",
      describe: "Jobs under way at once, over all runners; default: every slot",
    })
    .option("local", { type: "boolean", default: false, describe: "Run on this machine, although runners are known" })
    .option("detach", {
      type: "boolean",
      default: false,
      describe: "Leave at once and print the run's id; `coordinator attach RUN` shows it",
    })
    .option("silence-after", silenceOption)
    .example("$0 run recipes/hello.ts", "run a recipe")
    .example("$0 run recipes/ci.ts --dry-run", "see what it would do");

export async function handler(options: Options): Promise<number> {
  if (options.recipe === undefined) return listRecipesIn("recipes");
  if (options["dry-run"]) {
    const [{ loadRecipe }, { planOf }, { renderPlan }] = await Promise.all([
      import("../recipe/loader.ts"),
      import("../plan.ts"),
      import("../views/plan.ts"),
    ]);
    const plan = planOf(await loadRecipe(options.recipe));
    process.stdout.write(options.format === "json" ? `${JSON.stringify(plan)}\n` : renderPlan(plan));
    return exitCodes.passed;
  }
  const jobs = options.jobs === undefined ? undefined : Number(options.jobs);
  if (jobs !== undefined && !(Number.isInteger(jobs) && jobs > 0))
    throw new SortieError("USAGE", `--jobs takes a number from 1, not ${JSON.stringify(options.jobs)}.`);
  const silenceMs = parseSilence(options["silence-after"]);
  if (options.detach) {
    const { runDetached } = await import("../detach.ts");
    process.stdout.write(`${await runDetached()}\n`);
    return exitCodes.passed;
  }
  const { recipe, format, local } = options;
  return runToEnd({ recipe, format, jobs, local, silenceMs });
}

async function listRecipesIn(folder: string): Promise<number> {
  const { listRecipes } = await import("../recipe/loader.ts");
  const recipes = listRecipes(folder);
  if (recipes.length === 0)
    throw new SortieError("RECIPE_NOT_FOUND", `There is no recipe in ${folder}/.`, {
      hint: "Name a recipe's file: coordinator run FILE",
    });
  const width = Math.max(...recipes.map(({ path }) => basename(path).length)) + folder.length + 1;
  for (const { path, summary } of recipes) process.stdout.write(`${relative(".", path).padEnd(width)}  ${summary}\n`);
  return exitCodes.passed;
}

// `coordinator run [recipe] [job..]`
import { basename, relative, resolve } from "node:path";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { jsonLine, oneLine } from "../../protocol/text.ts";
import { answerOption, parseAnswers } from "../answers.ts";
import { parseOn } from "../ask-on.ts";
import { isDetached } from "../detach.ts";
import type { EventReader } from "../events.ts";
import { givenParams, type ParamOptions, paramOptions } from "../given-params.ts";
import { parseSilence, signWithOption, silenceOption } from "../options.ts";
import type { Asked } from "../prepare.ts";
import { runToEnd } from "../run-to-end.ts";
import { type SandboxOptionsGiven, sandboxOf, sandboxOptions } from "../sandbox/options.ts";
import { type GraphFormat, graphFormats, renderGraph } from "../views/graph.ts";
import { type Format, formats } from "../views/index.ts";

interface Options extends ParamOptions, SandboxOptionsGiven {
  readonly recipe: string | undefined;
  readonly job: readonly string[] | undefined;
  readonly only: readonly string[] | undefined;
  readonly skip: readonly string[] | undefined;
  readonly on: readonly string[] | undefined;
  readonly from: readonly string[] | undefined;
  readonly after: string | undefined;
  readonly answer: readonly string[] | undefined;
  readonly "fail-fast": boolean | undefined;
  readonly "dry-run": boolean;
  readonly graph: GraphFormat | undefined;
  readonly format: Format;
  readonly junit: string | undefined;
  readonly timings: boolean;
  readonly jobs: string | undefined;
  readonly local: boolean;
  readonly detach: boolean;
  readonly watch: boolean;
  readonly "silence-after": string | undefined;
  readonly "sign-with": string | undefined;
}

/** One each, as often as wanted: a job's name may hold a comma. */
const oneByOne = { type: "string", array: true, nargs: 1, requiresArg: true } as const;

export const builder = async (yargs: Argv) =>
  yargs
    .positional("recipe", { type: "string", describe: "The recipe's file" })
    .positional("job", { type: "string", array: true, describe: "Run these jobs, and what they need" })
    .options(paramOptions)
    .option("only", { ...oneByOne, describe: "Run these jobs alone, without what they need" })
    .option("skip", { ...oneByOne, describe: "Leave these jobs out; what needs them runs as if they had passed" })
    .option("on", {
      ...oneByOne,
      describe: "LABEL=VALUE that every job's runner must have besides, or runner=NAME; may be given again",
    })
    .option("from", {
      ...oneByOne,
      describe: "Go on from the recipe's last run: run this job, what needs it and what did not pass; keep the rest",
    })
    .option("after", {
      type: "string",
      requiresArg: true,
      describe: "Go on from this run instead: its id, a prefix of it, or last; without --from what did not pass is run",
    })
    .option("answer", answerOption)
    .option("fail-fast", { type: "boolean", describe: "Cancel the rest once a job failed" })
    .option("keep-going", {
      type: "boolean",
      conflicts: "fail-fast",
      describe: "Run whatever does not need a job that failed; this is the default",
    })
    .option("graph", { choices: graphFormats, describe: "Print the plan's graph and run nothing" })
    .option("dry-run", { type: "boolean", default: false, describe: "Print the plan and run nothing" })
    .option("format", {
      choices: formats,
      default: "auto" as Format,
      describe: "How the run is shown; auto: github or gitlab in their CI, live in a terminal, plain elsewhere",
    })
    .option("junit", { type: "string", describe: "Also write the run to this file, as JUnit XML" })
    .option("timings", {
      type: "boolean",
      default: false,
      describe: "Show where the time went, after the run",
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
    .option("watch", {
      type: "boolean",
      default: false,
      describe: "When the run is over, wait for changes and run again what they concern",
    })
    .option("silence-after", silenceOption)
    .option("sign-with", signWithOption)
    .options(sandboxOptions)
    .example("$0 run recipes/hello.ts", "run a recipe")
    .example("$0 run recipes/ci.ts lint types", "run two of its jobs, and what they need")
    .example("$0 run recipes/ci.ts --skip lint", "run all but one")
    .example("$0 run recipes/ci.ts --on os=linux", "on those runners alone")
    .example("$0 run recipes/ci.ts --from test", "again from there; what passed before is kept")
    .example("$0 run recipes/ci.ts --watch", "again whenever a file changes")
    .example("$0 run recipes/ci.ts --graph mermaid", "draw it")
    .example("$0 run recipes/ci.ts --dry-run", "see what it would do")
    .example("$0 run release.ts --set version=1.2.3", "a recipe with params; `run release.ts --help` lists them")
    .example("$0 run recipes/ci.ts --junit junit.xml --timings", "with a report, and where the time went")
    .epilogue(await describeParams());

export async function complete(name: string, words: readonly string[]) {
  const { jobsOfRecipe, knownRuns } = await import("../completions.ts");
  if (["job", "only", "skip", "from"].includes(name)) return jobsOfRecipe(words);
  return name === "after" ? knownRuns() : [];
}

export async function handler(options: Options): Promise<number> {
  if (options.recipe === undefined) return listRecipesIn("recipes");
  if (options.watch) {
    await sandboxOf(options);
    return watch(options.recipe, options);
  }
  const asked = await askedFor(options.recipe, options);
  if (options["dry-run"] || options.graph !== undefined) {
    process.stdout.write(await planText(asked, options));
    return exitCodes.passed;
  }
  const jobs = options.jobs === undefined ? undefined : Number(options.jobs);
  if (jobs !== undefined && !(Number.isInteger(jobs) && jobs > 0))
    throw new SortieError("USAGE", `--jobs takes a number from 1, not ${JSON.stringify(options.jobs)}.`);
  const answers = parseAnswers(options.answer ?? []);
  const silenceMs = parseSilence(options["silence-after"]);
  if (options.detach) {
    const { runDetached } = await import("../detach.ts");
    process.stdout.write(`${await runDetached()}\n`);
    return exitCodes.passed;
  }
  const { format, local, "fail-fast": failFast = false } = options;
  const reports = await reportsOf(options);
  return runToEnd({
    ...asked,
    answers,
    format,
    jobs,
    failFast,
    local,
    silenceMs,
    signWith: options["sign-with"],
    reports,
  });
}

/** Throws USAGE for what cannot stand beside it. */
async function watch(recipe: string, options: Options): Promise<number> {
  const { detach, graph, from, after, format, junit } = options;
  const others = { detach, graph, from, after, "dry-run": options["dry-run"] };
  const other = Object.entries(others).find(([, value]) => value !== undefined && value !== false);
  if (other) throw new SortieError("USAGE", `--watch and --${other[0]} cannot stand together.`);
  const { watchRecipe } = await import("../watch.ts");
  // What a program reads stays as it is.
  const out = format === "json" ? process.stderr : process.stdout;
  const own = [homeOf("coordinator"), homeOf("runner"), ...(junit === undefined ? [] : [junit, `${junit}.partial`])];
  return watchRecipe(
    recipe,
    own.map((path) => resolve(path)),
    (line) => void out.write(`${line}\n`),
  );
}

/** Throws USAGE. */
async function askedFor(recipe: string, options: Options): Promise<Asked> {
  const { job, only, skip, on = [], from = [], after } = options;
  const sandbox = await sandboxOf(options);
  return {
    recipe,
    params: givenParams(options),
    selection: {
      ...(job ? { jobs: [...job] } : {}),
      ...(only ? { only: [...only] } : {}),
      ...(skip ? { skip: [...skip] } : {}),
    },
    on: parseOn(on),
    from,
    ...(after === undefined ? {} : { after }),
    ...(sandbox ? { sandbox } : {}),
  };
}

/** The plan, and nothing is run. */
async function planText(asked: Asked, { graph, format }: Pick<Options, "graph" | "format">): Promise<string> {
  const { prepare } = await import("../prepare.ts");
  const { plan, kept, loaded } = await prepare(asked, homeOf("coordinator"));
  await loaded[Symbol.asyncDispose]();
  if (graph !== undefined) return renderGraph(plan, graph);
  if (format !== "json") return (await import("../views/plan.ts")).renderPlan(plan, kept);
  return `${jsonLine((await import("../views/plan-document.ts")).planDocument(plan, kept))}\n`;
}

async function reportsOf({ junit, timings, format }: Options): Promise<EventReader[]> {
  const reports: EventReader[] = [];
  if (timings && !isDetached) {
    const { timingsReport } = await import("../views/timings-report.ts");
    // What a program reads stays as it is.
    reports.push(timingsReport(format === "json" ? process.stderr : process.stdout));
  }
  if (junit !== undefined) reports.push((await import("../views/junit.ts")).junitReport(junit));
  return reports;
}

/** With `--help`, and a recipe: what that recipe takes. yargs has not parsed anything yet when it asks for a builder. */
async function describeParams(): Promise<string> {
  const end = process.argv.indexOf("--");
  const words = process.argv.slice(2, end < 0 ? undefined : end);
  const recipe = words.find((word) => /^[^-].*\.[cm]?[jt]s$/.test(word));
  if (recipe === undefined || !words.some((word) => word === "--help" || word === "-h")) return "";
  const { paramsHelp } = await import("../params-help.ts");
  return paramsHelp(recipe, words);
}

async function listRecipesIn(folder: string): Promise<number> {
  const { listRecipes } = await import("../recipe/loader.ts");
  const recipes = listRecipes(folder);
  if (recipes.length === 0)
    throw new SortieError("RECIPE_NOT_FOUND", `There is no recipe in ${folder}/.`, {
      hint: "Name a recipe's file: coordinator run FILE",
    });
  const width = Math.max(...recipes.map(({ path }) => basename(path).length)) + folder.length + 1;
  for (const { path, summary } of recipes)
    process.stdout.write(`${oneLine(relative(".", path)).padEnd(width)}  ${summary}\n`);
  return exitCodes.passed;
}

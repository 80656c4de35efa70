// `coordinator resume RUN`: goes on with a run whose coordinator was killed.
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { answerOption, parseAnswers } from "../answers.ts";
import { parseSilence, signWithOption, silenceOption } from "../options.ts";
import { resume } from "../resume.ts";
import { runToEnd } from "../run-to-end.ts";
import { openStore } from "../store/store.ts";
import { type Format, formats } from "../views/index.ts";

interface Options {
  readonly run: string;
  readonly format: Format;
  readonly answer: readonly string[] | undefined;
  readonly "silence-after": string | undefined;
  readonly "sign-with": string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("run", { type: "string", demandOption: true, describe: "A run's id or a prefix of it; `last`" })
    .option("format", { choices: formats, default: "auto" as Format, describe: "How the run is shown" })
    .option("answer", answerOption)
    .option("silence-after", silenceOption)
    .option("sign-with", signWithOption)
    .example("$0 resume last", "jobs that passed are kept, those that run are taken up where they are, the rest go on");

export const complete = async (name: string) => (name === "run" ? (await import("../completions.ts")).knownRuns() : []);

export async function handler(options: Options): Promise<number> {
  const answers = parseAnswers(options.answer ?? []);
  const silenceMs = parseSilence(options["silence-after"]);
  const store = openStore(homeOf("coordinator"));
  let resumed: ReturnType<typeof resume>;
  try {
    resumed = resume(store, options.run);
  } finally {
    store.close();
  }
  const { format } = options;
  const { recipe, params } = resumed;
  const { local } = resumed;
  const signWith = options["sign-with"];
  return runToEnd({ recipe, params, answers, format, jobs: undefined, local, silenceMs, signWith, resumed });
}

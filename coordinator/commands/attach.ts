// `coordinator attach RUN`: shows a run that another process conducts, live, from its beginning. Leaving changes nothing.
import type { Argv } from "yargs";
import { exitCodes } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { exitCodeOfRun } from "../run-to-end.ts";
import { openStore } from "../store/store.ts";
import { chooseView, type Format, formats } from "../views/index.ts";
import { watchRun } from "../watch-run.ts";

export const builder = (yargs: Argv) =>
  yargs
    .positional("run", { type: "string", demandOption: true, describe: "A run's id or a prefix of it; `last`" })
    .option("format", { choices: formats, default: "auto" as Format, describe: "How the run is shown" })
    .example("$0 attach last", "the latest run, from its beginning; Ctrl-C leaves it as it is");

export const complete = async (name: string) => (name === "run" ? (await import("../completions.ts")).knownRuns() : []);

export async function handler({ run: text, format }: { run: string; format: Format }): Promise<number> {
  const store = openStore(homeOf("coordinator"));
  const left = new AbortController();
  process.once("SIGINT", () => left.abort());
  process.once("SIGTERM", () => left.abort());
  const view = await chooseView(format);
  try {
    const run = store.findRun(text);
    const outcome = await watchRun(store, run, (event) => view.on(event), left.signal);
    if (outcome !== "running" && outcome !== "interrupted") return exitCodeOfRun[outcome];
    process.stderr.write(
      outcome === "running"
        ? `sortie: the run ${run.id} goes on; coordinator attach ${run.id} shows it again\n`
        : `sortie: the coordinator of the run ${run.id} is gone; coordinator resume ${run.id} goes on with it\n`,
    );
    return outcome === "running" ? exitCodes.interrupted : exitCodes.infrastructure;
  } finally {
    await view.close();
    store.close();
  }
}

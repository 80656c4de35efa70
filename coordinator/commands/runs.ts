// `coordinator runs`: the history, the latest first.
import { relative } from "node:path";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { jsonLine } from "../../protocol/text.ts";
import type { RunRow } from "../store/rows.ts";
import { openStore } from "../store/store.ts";
import { duration, oneLine, table } from "../views/format.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("n", { type: "string", default: "20", describe: "How many" })
    .option("json", { type: "boolean", default: false, describe: "Print JSON" })
    .example("$0 runs -n 5", "the latest five");

export async function handler({ n, json }: { n: string; json: boolean }): Promise<void> {
  const most = Number(n);
  if (!(Number.isInteger(most) && most > 0))
    throw new SortieError("USAGE", `-n takes a number from 1, not ${JSON.stringify(n)}.`);
  const store = openStore(homeOf("coordinator"));
  try {
    const runs = store.runs(most);
    if (json) process.stdout.write(`${jsonLine(runs)}\n`);
    else if (runs.length === 0) process.stdout.write("No run yet. Try: npx coordinator run recipes/hello.ts\n");
    else process.stdout.write(`${table([["RUN", "STATE", "STARTED", "TOOK", "RECIPE"], ...runs.map(row)])}\n`);
  } finally {
    store.close();
  }
}

function row(run: RunRow): string[] {
  const took = run.endedAt === null ? "" : duration(run.endedAt - run.startedAt);
  const near = run.recipe.startsWith("/") ? relative(".", run.recipe) : run.recipe;
  return [
    run.id,
    run.state,
    new Date(run.startedAt).toISOString(),
    took,
    oneLine(near.startsWith("../../") ? run.recipe : near),
  ];
}

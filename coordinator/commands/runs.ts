// `coordinator runs`: the history, the latest first.
import { relative } from "node:path";
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { openStore, type RunRow } from "../store/store.ts";
import { duration, oneLine, table } from "../views/format.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("n", { alias: "lines", type: "number", default: 20, describe: "How many" })
    .option("json", { type: "boolean", default: false, describe: "Print JSON" });

export async function handler({ n, json }: { n: number; json: boolean }): Promise<void> {
  const store = openStore(homeOf("coordinator"));
  try {
    const runs = store.runs(Math.max(1, Math.floor(Number(n)) || 20));
    if (json) process.stdout.write(`${JSON.stringify(runs)}\n`);
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

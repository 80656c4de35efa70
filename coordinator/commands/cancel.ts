// `coordinator cancel RUN|JOB`: ends a run or one job of it, from any terminal.
import { setTimeout as delay } from "node:timers/promises";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";
import { cancelInterrupted } from "../cancel-interrupted.ts";
import { openStore, type Store } from "../store/store.ts";

const LOOK_EVERY_MS = 100;

export const builder = (yargs: Argv) =>
  yargs
    .positional("what", {
      type: "string",
      demandOption: true,
      describe: "A run's id or a prefix of it, `last`, RUN/JOBNAME, or a job's name (in its latest run)",
    })
    .option("wait", { type: "boolean", default: true, describe: "--wait=false returns once it is asked for" })
    .example("$0 cancel last", "the latest run, and waits for its end")
    .example("$0 cancel last/test", "one job of it");

export async function complete(name: string) {
  if (name !== "what") return [];
  const { jobsOfLastRun, knownRuns } = await import("../completions.ts");
  return [...knownRuns(), ...jobsOfLastRun()];
}

export async function handler({ what, wait }: { what: string; wait: boolean }): Promise<number> {
  const folder = homeOf("coordinator");
  const store = openStore(folder);
  try {
    const { run, job } = find(store, what);
    const row = store.findRun(run);
    if (row.state === "interrupted" && store.takeOver(run)) {
      await cancelInterrupted(store, folder, row, job);
    } else {
      // Whoever took it over meanwhile is asked.
      const { state } = store.findRun(run);
      if (state !== "running") throw new SortieError("RUN_ENDED", `The run ${run} ${state} already.`);
      store.requestCancel(run, job);
      while (wait && !isOver(store, run, job)) await delay(LOOK_EVERY_MS);
    }
    process.stdout.write(
      `${job === undefined ? run : `${run}/${job}`}: ${wait ? stateOf(store, run, job) : "cancelling"}\n`,
    );
    return exitCodes.passed;
  } finally {
    store.close();
  }
}

function find(store: Store, what: string): { run: RunId; job: JobName | undefined } {
  if (!what.includes("/")) {
    try {
      return { run: store.findRun(what).id, job: undefined };
    } catch (error) {
      if (!(error instanceof SortieError) || error.code !== "NOT_FOUND") throw error;
    }
  }
  const { run, job } = store.findJob(what);
  return { run, job };
}

const outcomeOf = (store: Store, run: RunId, job: JobName): string | undefined =>
  store.jobs(run).find(({ name }) => name === job)?.outcome ?? undefined;

const isOver = (store: Store, run: RunId, job: JobName | undefined): boolean =>
  (job !== undefined && outcomeOf(store, run, job) !== undefined) || store.findRun(run).state !== "running";

const stateOf = (store: Store, run: RunId, job: JobName | undefined): string =>
  job === undefined ? store.findRun(run).state : (outcomeOf(store, run, job) ?? "interrupted");

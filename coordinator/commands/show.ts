// `coordinator show RUN`: one run, its jobs, their exits, and whether their logs are whole.
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { describeExit } from "../../protocol/exit.ts";
import { homeOf } from "../../protocol/home.ts";
import { jsonLine } from "../../protocol/text.ts";
import { describeParam } from "../given-params.ts";
import { describeCompleteness, measureLog } from "../store/measure-log.ts";
import { type AttemptRow, outcomeOfTry } from "../store/rows.ts";
import { openStore, type Store } from "../store/store.ts";
import { duration, oneLine, table } from "../views/format.ts";

export const builder = (yargs: Argv) =>
  yargs
    .positional("run", {
      type: "string",
      demandOption: true,
      describe: "A run's id or a prefix of it; `last` for the latest",
    })
    .option("json", { type: "boolean", default: false, describe: "Print JSON" })
    .example("$0 show last", "each attempt, how it ended, and whether its log is whole");

export const complete = async (name: string) => (name === "run" ? (await import("../completions.ts")).knownRuns() : []);

export async function handler({ run: text, json }: { run: string; json: boolean }): Promise<void> {
  const store = openStore(homeOf("coordinator"));
  try {
    const run = store.findRun(text);
    const jobs = store.jobs(run.id).map((job) => ({
      ...job,
      attempts: job.attempts.map((attempt) => ({ ...attempt, log: logState(store, attempt) })),
    }));
    if (json) {
      const params = run.params.map(({ text, ...param }) => (param.from === "option" ? { ...param, text } : param));
      process.stdout.write(`${jsonLine({ ...run, params, jobs })}\n`);
      return;
    }
    const took = run.endedAt === null ? "" : ` in ${duration(run.endedAt - run.startedAt)}`;
    const gone =
      run.fingerprint === null
        ? `coordinator cancel ${run.id} ends what is left of it`
        : `coordinator resume ${run.id} goes on with it`;
    const note = run.state === "interrupted" ? ` (its coordinator is gone; ${gone})` : "";
    process.stdout.write(`run ${run.id}: ${run.state}${took}${note}\n`);
    process.stdout.write(`recipe ${oneLine(run.recipe)}, started ${new Date(run.startedAt).toISOString()}\n`);
    if (run.params.length > 0) process.stdout.write(`params ${oneLine(run.params.map(describeParam).join(" "))}\n`);
    const on = Object.entries(run.on).map(([label, value]) => `${label}=${value}`);
    if (on.length > 0) process.stdout.write(`on ${on.join(" ")}\n`);
    if (run.after !== null) process.stdout.write(`goes on from the run ${run.after}\n`);
    process.stdout.write("\n");
    const rows = jobs.flatMap((job) => {
      if (job.attempts.length === 0)
        return [
          [
            job.name,
            job.kept ? "kept" : (job.outcome ?? (run.state === "running" ? "waiting" : "never started")),
            "",
            "",
            oneLine(job.message ?? ""),
            "",
            "",
          ],
        ];
      return job.attempts.map((attempt, index) => [
        job.name,
        index === job.attempts.length - 1 && (attempt.endedAt === null || job.outcome !== null)
          ? job.allowed
            ? "failed, allowed"
            : (job.outcome ?? run.state)
          : outcomeOfTry(attempt),
        oneLine(attempt.runner),
        attempt.endedAt === null ? "" : duration(attempt.endedAt - attempt.startedAt),
        oneLine(attempt.message ?? (attempt.exit ? describeExit(attempt.exit) : "")),
        attempt.id,
        attempt.log,
      ]);
    });
    process.stdout.write(`${table([["JOB", "OUTCOME", "RUNNER", "TOOK", "EXIT", "ATTEMPT", "LOG"], ...rows])}\n`);
    const endings = jobs.flatMap((job) => job.attempts.flatMap(endingOf));
    if (endings.length > 0) process.stdout.write(`\n${table([["JOB", "WHAT WAS ENDED"], ...endings])}\n`);
  } finally {
    store.close();
  }
}

/** What a cancellation ended, and what it could not, each process by its name and number. */
function endingOf({ job, exit }: AttemptRow): string[][] {
  const ending = exit && "ending" in exit ? exit.ending : undefined;
  if (!ending) return [];
  const processes = [
    ...ending.ended.map(({ name, pid, by }) => `${oneLine(name)} (${pid}) by ${by}`),
    ...ending.survivors.map(({ name, pid }) => `${oneLine(name)} (${pid}) could not be ended`),
    ...(ending.more === undefined ? [] : [`${ending.more} more`]),
  ];
  return processes.length === 0 ? [] : [[job, processes.join(", ")]];
}

function logState(store: Store, attempt: AttemptRow): string {
  let held: ReturnType<typeof measureLog>;
  // Asked first: its end may be written while the log is measured.
  const isLive = store.isLive(attempt);
  try {
    held = measureLog(store.logPath(attempt));
  } catch (error) {
    // One damaged log must not hide the run, nor its other jobs.
    if (error instanceof SortieError && error.code === "STATE_INVALID") return "damaged";
    throw error;
  }
  if (!held?.exit && isLive) return "still growing";
  if (!held) return "missing";
  return describeCompleteness(held, attempt.gap);
}

// `coordinator logs [-f] JOB`: what a job wrote, while it runs and after; stdout to stdout, stderr to stderr.
import { setTimeout as delay } from "node:timers/promises";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { describeExit, passed } from "../../protocol/exit.ts";
import { homeOf } from "../../protocol/home.ts";
import { parseShow, printParts, type Show } from "../print-log.ts";
import { describeCompleteness, measureLog } from "../store/measure-log.ts";
import { readLog } from "../store/read-log.ts";
import type { AttemptRow } from "../store/rows.ts";
import { type FoundJob, openStore, type Store } from "../store/store.ts";
import { oneLine } from "../views/format.ts";
import { type LogPrinter, logPrinter } from "../views/log-printer.ts";

/** A job that has not started is looked for this often. */
const LOOK_EVERY_MS = 100;
/** An attempt's end is on record a moment after it is in the log, while its coordinator lives and its disk is not full. */
const RECORDED_WITHIN_MS = 5_000;

interface Options {
  readonly job: string | undefined;
  readonly from: string | undefined;
  readonly since: string | undefined;
  readonly offset: string | undefined;
  readonly follow: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  readonly raw: boolean;
  readonly notes: boolean;
  readonly n: string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("job", {
      type: "string",
      describe: "RUN/JOBNAME, a job's name (its latest run), or a prefix of an attempt's id",
    })
    .option("from", {
      type: "string",
      describe: "Ask this runner itself; without a job, list those it has of this coordinator",
    })
    .option("follow", { alias: "f", type: "boolean", default: false, describe: "Wait for more, until the job ends" })
    .option("stdout", { type: "boolean", default: false, describe: "Only what it wrote to stdout" })
    .option("stderr", { type: "boolean", default: false, describe: "Only what it wrote to stderr" })
    .option("timestamps", { alias: "t", type: "boolean", default: false, describe: "The time before each line" })
    .option("raw", { type: "boolean", default: false, describe: "Every byte as it is, also to a terminal" })
    .option("notes", {
      type: "boolean",
      default: false,
      describe: "Also what its services wrote and what prepared it, on stderr",
    })
    .option("since", {
      type: "string",
      describe: "Only what was written since: 10m ago, or a time such as 2026-01-31T12:00:00Z",
    })
    .option("offset", {
      type: "string",
      describe: "Only what stands behind this byte of the log, chunk headers included",
    })
    .option("n", { alias: "lines", type: "string", describe: "Only the last lines" })
    .example("$0 logs -f last/build", "follow a job of the latest run")
    .example("$0 logs build --stderr -n 20", "the last lines of one output")
    .example("$0 logs --from w1", "what a runner itself has; `--from w1 ATTEMPT` shows it");

export const complete = async (name: string) =>
  name === "job" ? (await import("../completions.ts")).jobsOfLastRun() : [];

export async function handler(options: Options): Promise<number> {
  const folder = homeOf("coordinator");
  const show = parseShow(options);
  if (options.from !== undefined) {
    const { showRemoteLog } = await import("../show-remote-log.ts");
    return showRemoteLog(options.from, options.job, folder, show);
  }
  if (options.job === undefined)
    throw new SortieError("USAGE", "logs needs a job: coordinator logs RUN/JOB.", {
      hint: "`coordinator show last` lists the jobs of the latest run.",
    });
  const store = openStore(folder);
  try {
    return await showLog(store, options.job, options.follow, show);
  } finally {
    store.close();
  }
}

async function showLog(store: Store, job: string, follow: boolean, show: Show): Promise<number> {
  const found = store.findJob(job);
  const printer = logPrinter(show);

  let attempt = found.attempt ?? (follow ? await nextAttempt(store, found, undefined) : undefined);
  if (!attempt)
    throw new SortieError("NOT_FOUND", `The job ${found.job} of run ${found.run} has not started, so it has no log.`);
  for (let isFirst = true; ; isFirst = false) {
    const current = attempt;
    const path = store.logPath(current);
    const parts = readLog(path, { follow, isLive: () => store.isLive(current) });
    // What is left out of the first attempt's log is left out of it alone.
    const left = await printParts(path, parts, printer, isFirst ? show : { ...show, most: undefined, offset: 0 });
    // Its reader has left, as `head` does.
    if (left) return exitCodes.passed;
    const exit = measureLog(path)?.exit;
    if (!follow || found.byAttempt || (exit && passed(exit))) break;
    const next = await nextAttempt(store, found, current);
    if (!next) break;
    const how = exit ? `ended with ${describeExit(exit)}` : "was lost";
    await printer.note(`attempt ${current.attempt} ${how}; attempt ${next.attempt} follows`);
    attempt = next;
  }
  return conclude(store, attempt, follow, printer);
}

/** The attempt after this one, once it starts; `undefined` when the job ends without. */
async function nextAttempt(
  store: Store,
  found: FoundJob,
  after: AttemptRow | undefined,
): Promise<AttemptRow | undefined> {
  for (;;) {
    // Asked first: an attempt that starts in between is found.
    const mayStart = store.mayStart(found.run, found.job);
    const next = store.attemptAfter(found.run, found.job, after);
    if (next) return next;
    if (!mayStart) return undefined;
    await delay(LOOK_EVERY_MS);
  }
}

/** What its coordinator found to be missing, which it knows last: bytes that are there may be others than the job's. */
async function gapOf(store: Store, { run, id }: AttemptRow): Promise<string | null> {
  const givesUp = performance.now() + RECORDED_WITHIN_MS;
  while (store.isLive({ run, id }) && performance.now() < givesUp) await delay(LOOK_EVERY_MS);
  return store.findJob(id).attempt?.gap ?? null;
}

/** Says whether the log is whole, and how the job ended. */
async function conclude(store: Store, attempt: AttemptRow, follow: boolean, printer: LogPrinter): Promise<number> {
  const isLive = store.isLive(attempt);
  const path = store.logPath(attempt);
  const held = measureLog(path);
  if (!held?.exit && isLive && !follow) return exitCodes.passed;
  if (!held) throw new SortieError("NOT_FOUND", `The log of ${attempt.job} is not there: ${path}.`);
  const state = describeCompleteness(held, held.exit ? await gapOf(store, attempt) : null);
  if (state === "complete") {
    if (held.exit && !passed(held.exit)) await printer.note(`${attempt.job} ended with ${describeExit(held.exit)}`);
    return exitCodes.passed;
  }
  const interrupted = store.findRun(attempt.run).state === "interrupted";
  const why = interrupted ? "its coordinator is gone" : store.lastAttempt(attempt.run, attempt.job)?.message;
  await printer.note(`this log is ${state}${held.exit || !why ? "" : `; ${oneLine(why)}`}`);
  return exitCodes.failed;
}

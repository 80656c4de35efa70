// `coordinator logs [-f] JOB`: what a job wrote, while it runs and after; stdout to stdout, stderr to stderr.
import { setTimeout as delay } from "node:timers/promises";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { describeExit, passed } from "../../protocol/exit.ts";
import { homeOf } from "../../protocol/home.ts";
import { lastLines } from "../store/last-lines.ts";
import { describeCompleteness, measureLog } from "../store/measure-log.ts";
import { type LogPart, readLog } from "../store/read-log.ts";
import type { AttemptRow } from "../store/rows.ts";
import { type FoundJob, openStore, type Store } from "../store/store.ts";
import { oneLine } from "../views/format.ts";
import { type LogPrinter, logPrinter } from "../views/log-printer.ts";

/** A job that has not started is looked for this often. */
const LOOK_EVERY_MS = 100;

interface Options {
  readonly job: string;
  readonly follow: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  readonly raw: boolean;
  readonly n: string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("job", {
      type: "string",
      demandOption: true,
      describe: "RUN/JOBNAME, a job's name (its latest run), or a prefix of an attempt's id",
    })
    .option("follow", { alias: "f", type: "boolean", default: false, describe: "Wait for more, until the job ends" })
    .option("stdout", { type: "boolean", default: false, describe: "Only what it wrote to stdout" })
    .option("stderr", { type: "boolean", default: false, describe: "Only what it wrote to stderr" })
    .option("timestamps", { alias: "t", type: "boolean", default: false, describe: "The time before each line" })
    .option("raw", { type: "boolean", default: false, describe: "Every byte as it is, also to a terminal" })
    .option("n", { alias: "lines", type: "string", describe: "Only the last lines" })
    .example("$0 logs -f last/build", "follow a job of the latest run");

export async function handler(options: Options): Promise<number> {
  const most = options.n === undefined ? undefined : Number(options.n);
  if (most !== undefined && !(Number.isInteger(most) && most >= 0))
    throw new SortieError("USAGE", `-n takes a number, not ${JSON.stringify(options.n)}.`);
  const store = openStore(homeOf("coordinator"));
  try {
    return await showLog(store, options, most);
  } finally {
    store.close();
  }
}

async function showLog(store: Store, options: Options, most: number | undefined): Promise<number> {
  const { follow } = options;
  const found = store.findJob(options.job);
  const both = options.stdout === options.stderr;
  const wanted = { stdout: both || options.stdout, stderr: both || options.stderr };
  const printer = logPrinter({ ...wanted, timestamps: options.timestamps, raw: options.raw });

  let attempt = found.attempt ?? (follow ? await nextAttempt(store, found, undefined) : undefined);
  if (!attempt)
    throw new SortieError("NOT_FOUND", `The job ${found.job} of run ${found.run} has not started, so it has no log.`);
  for (let isFirst = true; ; isFirst = false) {
    const current = attempt;
    const path = store.logPath(current);
    let parts: AsyncIterable<LogPart> = readLog(path, { follow, isLive: () => store.isLive(current) });
    if (isFirst && most !== undefined) parts = lastLines(path, parts, most, (stream) => wanted[stream]);
    for await (const part of parts) {
      const printed = printer.print(part);
      if (printed) await printed;
      // Its reader has left, as `head` does.
      if (process.stdout.destroyed || process.stderr.destroyed) return exitCodes.passed;
    }
    await printer.end();
    if (!follow || found.byAttempt || measureLog(path)?.exit) break;
    const next = await nextAttempt(store, found, current);
    if (!next) break;
    await printer.note(`attempt ${current.attempt} was lost; attempt ${next.attempt} follows`);
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
    const last = store.lastAttempt(found.run, found.job);
    if (last && last.id !== after?.id) return last;
    if (!mayStart) return undefined;
    await delay(LOOK_EVERY_MS);
  }
}

/** Says whether the log is whole, and how the job ended. */
async function conclude(store: Store, attempt: AttemptRow, follow: boolean, printer: LogPrinter): Promise<number> {
  const isLive = store.isLive(attempt);
  const path = store.logPath(attempt);
  const held = measureLog(path);
  if (!held?.exit && isLive && !follow) return exitCodes.passed;
  if (!held) throw new SortieError("NOT_FOUND", `The log of ${attempt.job} is not there: ${path}.`);
  const state = describeCompleteness(held);
  if (state === "complete" && attempt.gap === null) {
    if (held.exit && !passed(held.exit)) await printer.note(`${attempt.job} ended with ${describeExit(held.exit)}`);
    return exitCodes.passed;
  }
  const interrupted = store.findRun(attempt.run).state === "interrupted";
  const why = interrupted ? "its coordinator is gone" : store.lastAttempt(attempt.run, attempt.job)?.message;
  await printer.note(
    `this log is ${state === "complete" ? `incomplete: ${attempt.gap}` : state}${held.exit || !why ? "" : `; ${oneLine(why)}`}`,
  );
  return exitCodes.failed;
}

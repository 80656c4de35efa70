// `coordinator logs [-f] JOB`: what a job wrote, while it runs and after; stdout to stdout, stderr to stderr.
import { existsSync } from "node:fs";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { describeExit, passed } from "../../protocol/exit.ts";
import { homeOf } from "../../protocol/home.ts";
import { describeCompleteness, type LogPart, readLog } from "../store/read-log.ts";
import { openStore } from "../store/store.ts";
import { lastLines } from "../views/last-lines.ts";
import { logPrinter } from "../views/log-printer.ts";

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
    const attempt = store.findAttempt(options.job);
    const path = store.logPath(attempt);
    if (!options.follow && !existsSync(path))
      throw new SortieError("NOT_FOUND", `The log of ${attempt.job} is not there: ${path}.`);
    const both = options.stdout === options.stderr;
    const printer = logPrinter({
      stdout: both || options.stdout,
      stderr: both || options.stderr,
      timestamps: options.timestamps,
      raw: options.raw,
    });
    const isLive = (): boolean => store.isLive(attempt.run);
    let parts: AsyncIterable<LogPart> = readLog(path, { follow: options.follow, isLive });
    if (most !== undefined) parts = lastLines(path, parts, most, (stream) => both || options[stream]);
    const held = { stdout: 0, stderr: 0, exit: undefined as (LogPart & { kind: "exit" })["exit"] | undefined };
    let dropped = false;
    for await (const part of parts) {
      if (part.kind === "output") held[part.stream] += part.bytes.length;
      if (part.kind === "dropped") dropped = true;
      if (part.kind === "exit") held.exit = part.exit;
      const printed = printer.print(part);
      if (printed) await printed;
      // Its reader has left, as `head` does.
      if (process.stdout.destroyed) return exitCodes.passed;
    }
    await printer.end();
    if (!held.exit && !options.follow && isLive()) return exitCodes.passed;
    const state = most === undefined || !held.exit ? describeCompleteness(held) : "complete";
    if (state !== "complete") {
      if (!dropped)
        process.stderr.write(`sortie: this log is ${state}${held.exit ? "" : "; its coordinator is gone"}\n`);
      return exitCodes.failed;
    }
    if (held.exit && !passed(held.exit))
      process.stderr.write(`sortie: ${attempt.job} ended with ${describeExit(held.exit)}\n`);
    return exitCodes.passed;
  } finally {
    store.close();
  }
}

// `coordinator exec RUNNER -- COMMAND…`: one command, its streams and its exit code, as if it ran here.
import { basename } from "node:path";
import type { Argv } from "yargs";
import { parseDuration } from "../../protocol/duration.ts";
import { asSortieError, exitCodes, SortieError } from "../../protocol/errors.ts";
import { describeExit, exitCodeOf } from "../../protocol/exit.ts";
import { homeOf } from "../../protocol/home.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { limits } from "../../protocol/limits.ts";
import { type Attempt, reconnectMsOf, startAttempt } from "../attempt.ts";
import { listenForCancels } from "../cancels.ts";
import { outcomeOf, type RunEvent, type RunOutcome } from "../events.ts";
import { findRunner, openFleet } from "../fleet.ts";
import { parseLease, parseSilence, signWithOption, silenceOption } from "../options.ts";
import { placeOf } from "../recipe/check-place.ts";
import type { Pull } from "../recipe/place.ts";
import { createBoundedLog } from "../store/log.ts";
import { logPath, openStore } from "../store/store.ts";
import { noteLines, oneLine, writeTo } from "../views/format.ts";

/** Output of a single command that its log keeps: it went to the person already. */
const KEPT_BYTES = 16 * 1024 * 1024;

interface Options {
  readonly runner: string;
  readonly command: readonly string[] | undefined;
  readonly cwd: string | undefined;
  readonly env: readonly string[];
  readonly image: string | undefined;
  readonly pull: Pull | undefined;
  readonly ssh: string | undefined;
  readonly timeout: string | undefined;
  readonly lease: string | undefined;
  readonly "silence-after": string | undefined;
  readonly "sign-with": string | undefined;
  readonly stdin: boolean;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("runner", {
      type: "string",
      demandOption: true,
      describe: "A name, a prefix of a peer ID, or labels that fit one: os=linux",
    })
    .positional("command", { type: "string", array: true, describe: "The program and its arguments, behind --" })
    .option("cwd", { type: "string", describe: "An absolute path where it runs; default: a fresh directory" })
    .option("env", {
      alias: "e",
      type: "string",
      array: true,
      nargs: 1,
      default: [],
      describe: "NAME=VALUE for the command",
    })
    .option("image", { type: "string", describe: "Runs the command in a container of this image" })
    .option("pull", {
      choices: ["always", "missing", "never"],
      describe: "When that image is fetched; default: missing",
    })
    .option("ssh", {
      type: "string",
      conflicts: "image",
      describe: "Runs it on a host that the runner reaches by ssh: USER@HOST:PORT",
    })
    .option("timeout", { type: "string", describe: "Ends the command after this: 90s, 10m" })
    .option("lease", {
      type: "string",
      describe: "How long the command goes on when this side is gone; none: for ever; default: the runner's, 5m",
    })
    .option("silence-after", silenceOption)
    .option("sign-with", signWithOption)
    .option("stdin", { type: "boolean", default: true, describe: "--stdin=false gives the command an empty stdin" })
    .example("$0 exec w1 -- sh -c 'echo hello; exit 7'", "exits with 7")
    .example("$0 exec w1 --image node:24 -- node --version", "in a container")
    .example("tar cf - . | $0 exec w1 -- tar tf -", "stdin is piped");

export async function handler(options: Options & { readonly "--"?: readonly string[] }): Promise<number> {
  const argv = [...(options.command ?? []), ...(options["--"] ?? [])];
  if (argv.length === 0) throw new SortieError("USAGE", "exec needs a command: coordinator exec RUNNER -- COMMAND…");
  const timeoutMs = options.timeout === undefined ? undefined : parseDuration(options.timeout);
  if (options.timeout !== undefined && !timeoutMs)
    throw new SortieError(
      "USAGE",
      `--timeout takes a duration such as 90s or 10m, not ${JSON.stringify(options.timeout)}.`,
    );

  const leaseMs = parseLease(options.lease);
  const { image, pull, ssh } = options;
  if (pull !== undefined && image === undefined) throw new SortieError("USAGE", "--pull is of an image: add --image.");
  const place = placeOf(
    { container: image === undefined ? undefined : { image, pull }, ssh },
    (message) =>
      new SortieError("USAGE", message.replace(/^(container\.image|ssh)\b/, image === undefined ? "--ssh" : "--image")),
  );

  let attempt: Attempt | undefined;
  const cancelled = interruptSignal(() => attempt?.abandon(new SortieError("INTERRUPTED", "Interrupted twice.")));
  const folder = homeOf("coordinator");
  const fleet = openFleet(folder, parseSilence(options["silence-after"]), options["sign-with"]);
  const run = newRunId();
  const job = "exec" as JobName;
  const attemptId = newAttemptId();
  const startedAt = Date.now();
  try {
    const runner = await findRunner(fleet, options.runner);
    const request = {
      attemptId,
      run,
      job,
      attempt: 1,
      steps: [{ argv }],
      env: options.env.map(parseVariable),
      graceMs: limits.graceMs,
      stdin: options.stdin,
      ...place,
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
      ...(timeoutMs === undefined ? {} : { timeoutMs }),
      ...(leaseMs === undefined ? {} : { leaseMs }),
    };
    const log = createBoundedLog(logPath(folder, run, attemptId), KEPT_BYTES);
    const output = { stdout: process.stdout, stderr: process.stderr };
    attempt = await startAttempt({
      link: runner,
      attemptId,
      request,
      reconnectMs: reconnectMsOf(leaseMs),
      sink: {
        store: (bytes) => log.write(bytes),
        output: (stream, bytes) => writeTo(output[stream], bytes),
        control(message) {
          if (message.type !== "note") return;
          const head = `sortie: ${oneLine(message.from)}: `;
          return writeTo(
            process.stderr,
            noteLines(message.text, false)
              .map((line) => `${head}${line}\n`)
              .join(""),
          );
        },
        connection: (lost) =>
          void process.stderr.write(
            lost === undefined
              ? `sortie: ${runner.name} is there again\n`
              : `sortie: ${oneLine(lost)}; the command goes on, looking for ${runner.name}\n`,
          ),
      },
      stdin: options.stdin ? process.stdin : undefined,
    });
    const started = attempt;
    const cancel = (): void => {
      process.stderr.write("sortie: cancelling; Ctrl-C again leaves at once\n");
      started.cancel("user");
    };
    cancelled.addEventListener("abort", cancel, { once: true });
    if (cancelled.aborted) cancel();
    // The record is opened while the command runs: it is not on the way to the first byte.
    const store = openStore(folder);
    const record = store.reader();
    const tell = (event: RunEvent) => record.on(event);
    const asked = listenForCancels(store, run, cancelled);
    asked.cancelsJobs(() => started.cancel("user"));
    asked.signal.addEventListener("abort", () => started.cancel("user"), { once: true });
    try {
      await tell({
        type: "run-started",
        at: startedAt,
        run,
        recipe: `exec ${basename(argv[0] ?? "")}`,
        jobs: [{ name: job, needs: [] }],
      });
      await tell({
        type: "job-dispatched",
        at: startedAt,
        job,
        attempt: 1,
        attemptId,
        runner: runner.name,
        runnerId: runner.id,
      });
      const end = await attempt.end.catch((error: unknown) => ({ error: asSortieError(error) }));
      const code = "exit" in end ? exitCodeOf(end.exit) : exitCodes.infrastructure;
      const outcome: RunOutcome = "error" in end || end.gap !== undefined ? "lost" : outcomeOf(end.exit);
      const durationMs = Date.now() - startedAt;
      await tell({
        type: "job-ended",
        at: Date.now(),
        job,
        outcome,
        durationMs,
        ...("exit" in end ? end : { message: end.error.message }),
      });
      await tell({ type: "run-ended", at: Date.now(), run, outcome, durationMs });
      if ("error" in end) throw end.error;
      if (end.gap !== undefined)
        throw new SortieError("OUTPUT_INCOMPLETE", `The command's output is not whole: ${end.gap}.`);
      if (end.exit.reason !== "exited" || end.exit.ambiguous)
        process.stderr.write(`sortie: ${describeExit(end.exit)}\n`);
      return code;
    } finally {
      asked.stop();
      await log.close();
      store.close();
    }
  } catch (error) {
    if (cancelled.aborted && !attempt) return exitCodes.interrupted;
    throw error;
  } finally {
    await fleet.close();
  }
}

function parseVariable(text: string): [string, string] {
  const at = text.indexOf("=");
  if (at < 1) throw new SortieError("USAGE", `${JSON.stringify(text)} is not NAME=VALUE.`);
  return [text.slice(0, at), text.slice(at + 1)];
}

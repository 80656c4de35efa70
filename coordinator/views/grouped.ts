// A run as a CI service shows it: each attempt's output is one group, printed from its log on disk when it ends. What a
// service's marks look like is its own file's business (github.ts, gitlab.ts). Printing goes on beside the run and never
// holds it up; what waits to be printed is a few words a job, however much the jobs write.
import { messageOf } from "../../protocol/errors.ts";
import { describeExit } from "../../protocol/exit.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import type { EventReader, PlannedJob, RunEvent } from "../events.ts";
import { noSecrets, type Secrets } from "../secrets.ts";
import { readLog } from "../store/read-log.ts";
import { logPath } from "../store/store.ts";
import {
  answeredText,
  begunText,
  duration,
  joinedText,
  noteLines,
  oneLine,
  outcomeColour,
  outcomeMark,
  type Paint,
  runnerText,
  type ShownOutcome,
  safeLine,
  shownOutcome,
  writeTo,
} from "./format.ts";
import { type LineCutter, lineCutter } from "./lines.ts";
import { summaryOf } from "./summary.ts";
import { createTail, type Tail } from "./tail.ts";

/** An attempt that is over. */
export interface Group {
  readonly job: JobName;
  /** 1 for the first group of the run. */
  readonly index: number;
  readonly attempt: number;
  /** `undefined` where the job is tried again. */
  readonly outcome: ShownOutcome | undefined;
  /** Why it came out so; empty for a job that passed. */
  readonly why: string;
  readonly startedAt: number;
  readonly endedAt: number;
  readonly durationMs: number;
  /** The job in the recipe, where that is known. */
  readonly location: PlannedJob["location"];
}

/** How one service wants it. Every text ends with a line's end, or is empty. */
export interface Dialect {
  readonly paint: Paint;
  /** A line that a job wrote, or that quotes somebody: nothing in it may be taken for a mark. */
  line(text: string): string;
  begin(group: Group, title: string): string;
  end(group: Group): string;
  /** One mark of the service's own; without it, it is a line. */
  warning?(text: string): string;
  /** After the group, with the end of its output. */
  ended?(group: Group, tail: Tail): string;
  /** After everything. */
  over?(event: RunEvent & { type: "run-ended" }): string | Promise<string>;
}

interface Row {
  readonly attempt: number;
  readonly attemptId: AttemptId;
  readonly startedAt: number;
}

/**
 * `folder` is the coordinator's: the logs are there. A runner has taken its own jobs' secrets out of them, and those of other jobs
 * are taken out here.
 */
export function groupedView(
  out: NodeJS.WriteStream,
  folder: string,
  dialect: Dialect,
  secrets: Pick<Secrets, "redaction"> = noSecrets(),
): EventReader {
  const { paint } = dialect;
  const rows = new Map<JobName, Row>();
  const locations = new Map<JobName, PlannedJob["location"]>();
  const counts = new Map<ShownOutcome, number>();
  const failures: string[] = [];
  let run = "" as RunId;
  let groups = 0;
  let printed: Promise<void> = Promise.resolve();

  const later = (print: () => Promise<void> | void): void => {
    printed = printed.then(print);
  };
  const tell = (text: string): void => later(() => writeTo(out, `${dialect.line(text)}\n`));

  function over(event: RunEvent & { type: "job-ended" | "job-retrying" }): void {
    const { job, at, durationMs } = event;
    const row = rows.get(job);
    rows.delete(job);
    const outcome = event.type === "job-ended" ? shownOutcome(event) : undefined;
    if (outcome) counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    if (outcome === "failed" || outcome === "lost") failures.push(job);
    const reason = event.message ?? (event.exit ? describeExit(event.exit) : "lost");
    const gap = event.gap === undefined ? [] : [`its log is incomplete: ${event.gap}`];
    const group: Group = {
      job,
      index: ++groups,
      attempt: row?.attempt ?? 1,
      outcome,
      why: oneLine([...(outcome === "passed" ? [] : [reason]), ...gap].join("; ")),
      startedAt: row?.startedAt ?? at,
      endedAt: at,
      durationMs,
      location: locations.get(job),
    };
    later(() => printGroup(group, row));
  }

  /** Whoever reads a run out of its record is told of a lost attempt by the next one alone. */
  function superseded({ at, job, attemptId }: RunEvent & { type: "job-started" }): void {
    const row = rows.get(job);
    if (row && row.attemptId !== attemptId)
      over({
        type: "job-retrying",
        at,
        job,
        attempt: row.attempt,
        outcome: "lost",
        delayMs: 0,
        message: "lost",
        durationMs: at - row.startedAt,
      });
  }

  async function printGroup(group: Group, row: Row | undefined): Promise<void> {
    const tail = createTail();
    const title = titleOf(group, paint);
    // A job that never started wrote nothing.
    if (row) {
      await writeTo(out, dialect.begin(group, title));
      await printLog(row.attemptId, tail);
      await writeTo(out, dialect.end(group));
    } else await writeTo(out, `${dialect.line(title)}\n`);
    const after = dialect.ended?.(group, tail) ?? "";
    if (after !== "") await writeTo(out, after);
  }

  async function printLog(attemptId: AttemptId, tail: Tail): Promise<void> {
    const cutters = { stdout: lineCutter(), stderr: lineCutter() };
    const { redaction } = secrets;
    const redacted = redaction && { stdout: redaction.stream(), stderr: redaction.stream() };
    const print = (lines: readonly string[]): Promise<void> | undefined =>
      lines.length === 0 ? undefined : writeTo(out, lines.map((line) => `${dialect.line(line)}\n`).join(""));
    const show = (stream: "stdout" | "stderr", bytes: Uint8Array): Promise<void> | undefined => {
      if (bytes.length > 0) tail.push(stream, bytes);
      return print(cutters[stream].push(bytes).map((line) => safeLine(line, true)));
    };
    try {
      for await (const part of readLog(logPath(folder, run, attemptId))) {
        if (part.kind === "output") {
          await show(part.stream, redacted ? redacted[part.stream].push(part.bytes) : part.bytes);
        } else if (part.kind === "note")
          await print(
            noteLines(redaction ? redaction.text(part.text) : part.text, true).map(
              (line) => `[${oneLine(part.from)}] ${line}`,
            ),
          );
      }
    } catch (error) {
      await print([`sortie: its log cannot be read: ${oneLine(messageOf(error))}`]);
    }
    if (redacted) for (const stream of ["stdout", "stderr"] as const) await show(stream, redacted[stream].end());
    await print(restOf([cutters.stdout, cutters.stderr]));
  }

  return {
    on(event) {
      switch (event.type) {
        case "run-started":
        case "run-resumed":
          run = event.run;
          for (const { name, location } of event.jobs) locations.set(name, location);
          return tell(begunText(event));
        case "jobs-joined":
          for (const { name, location } of event.jobs) locations.set(name, location);
          return tell(joinedText(event));
        case "runner-connected":
        case "runner-unreachable":
          return tell(runnerText(event));
        case "job-dispatched":
          rows.set(event.job, { attempt: event.attempt, attemptId: event.attemptId, startedAt: event.at });
          return;
        case "job-returned":
          rows.delete(event.job);
          return;
        case "job-started": {
          superseded(event);
          rows.set(event.job, { attempt: event.attempt, attemptId: event.attemptId, startedAt: event.at });
          const again = event.attempt > 1 ? `, attempt ${event.attempt}` : "";
          return tell(`job ${event.job} started on ${oneLine(event.runner)}${again}`);
        }
        case "job-waiting":
          return tell(`job ${event.job}: waiting: ${oneLine(event.message)}`);
        case "job-reconnecting":
          return tell(`job ${event.job}: reconnecting, job still running: ${oneLine(event.message)}`);
        case "job-reconnected":
          return tell(`job ${event.job}: connected again`);
        case "job-asking":
          return tell(`job ${event.job} asks: ${oneLine(event.question)}`);
        case "job-answered":
          return tell(`job ${event.job}: ${answeredText(event)}`);
        case "job-step":
        case "job-output":
        case "job-note":
          // They are in the log.
          return;
        case "job-retrying":
        case "job-ended":
          return over(event);
        case "warning": {
          const text = `warning: ${oneLine(event.message)}`;
          const mark = dialect.warning?.(oneLine(event.message));
          return mark === undefined ? tell(text) : later(() => writeTo(out, mark));
        }
        case "run-cancelling":
          return tell(oneLine(event.message));
        case "run-ended":
          return later(async () => {
            const summary = summaryOf(event, counts, failures, run, paint).split("\n");
            await writeTo(out, summary.map((line) => `${dialect.line(line)}\n`).join(""));
            const last = (await dialect.over?.(event)) ?? "";
            if (last !== "") await writeTo(out, last);
          });
      }
    },
    close: () => printed,
  };
}

function restOf(cutters: readonly LineCutter[]): string[] {
  return cutters.flatMap((cutter) => {
    const line = cutter.rest();
    return line === undefined ? [] : [safeLine(line, true)];
  });
}

/** "✖ build: failed, exit 3 (12 s)". */
function titleOf({ job, attempt, outcome, why, durationMs }: Group, paint: Paint): string {
  const again = attempt > 1 ? ` (attempt ${attempt})` : "";
  if (outcome === undefined)
    return `${paint("yellow", `↻ ${job}${again}: ${why}; tried again`)} (${duration(durationMs)})`;
  const end = `${outcomeMark[outcome]} ${job}${again}: ${outcome}${why === "" ? "" : `, ${why}`}`;
  return `${paint(outcomeColour[outcome], end)} (${duration(durationMs)})`;
}

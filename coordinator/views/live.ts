// A live view for a terminal, on listr2: what runs, what failed, what ended last, and one line for the rest. listr2
// draws one task; what it says is made anew a few times a second, however many jobs there are and however much they
// write. At the end it gives way to what failed, with its last lines, and the summary.
import { describeExit } from "../../protocol/exit.ts";
import type { EventReader, RunEvent } from "../events.ts";
import {
  duration,
  noteLines,
  oneLine,
  outcomeColour,
  outcomeMark,
  paintFor,
  runnerText,
  type ShownOutcome,
  shownOutcome,
  writeTo,
} from "./format.ts";
import { summaryOf } from "./summary.ts";
import { createTail, type Tail } from "./tail.ts";

const REFRESH_MS = 100;
/** Lines beside the jobs': the title, the count of what is not shown, and the cursor's own. */
const OTHER_LINES = 4;
const MOST_LINES = 24;
const LAST_ENDED = 3;
const MOST_FAILED_SHOWN = 5;
const TAIL_LINES = 50;
const MOST_TAILS = 20;
const CLEAR_SCREEN = "\u001b[2J\u001b[H";
/** What listr2 puts before each line. */
const INDENTATION = 4;

interface Row {
  readonly startedAt: number;
  readonly runner: string;
  step: string;
  readonly tail: Tail;
  /** The last notes, shown while the job itself has said nothing. */
  readonly notes: string[];
  /** Since when the connection is lost. */
  lostAt: number | undefined;
}

interface Failure {
  readonly job: string;
  readonly why: string;
  readonly tail: readonly string[];
}

function lastLinesOf({ tail, notes }: Row): readonly string[] {
  const lines = tail.lines(TAIL_LINES);
  return lines.length > 0 ? lines : notes;
}

export async function liveView(out: NodeJS.WriteStream): Promise<EventReader> {
  const { Listr, ListrLogger, ProcessOutput } = await import("listr2");
  const paint = paintFor(out);
  const rows = new Map<string, Row>();
  /** What jobs wait for that could start otherwise. */
  const waits = new Map<string, string>();
  const counts = new Map<ShownOutcome, number>();
  const failures: Failure[] = [];
  const failed: string[] = [];
  const lastEnded: string[] = [];
  const notes: string[] = [];
  const terminal = new ProcessOutput(out, process.stderr, { leaveEmptyLine: false });
  let total = 0;
  let run = "";
  let isCancelling = false;
  let drawnLines = 0;
  let stopDrawing: (() => Promise<void>) | undefined;

  const endLine = (job: string, outcome: ShownOutcome, why: string, durationMs: number): string =>
    `${paint(outcomeColour[outcome], outcomeMark[outcome])} ${job}${why && paint(outcomeColour[outcome], ` ${why}`)} ${paint("dim", `(${duration(durationMs)})`)}`;

  function title(): string {
    const ended = [...counts.values()].reduce((sum, count) => sum + count, 0);
    const waiting = total - ended - rows.size;
    const parts = [...counts].map(([outcome, count]) => paint(outcomeColour[outcome], `${count} ${outcome}`));
    parts.push(`${rows.size} running`);
    if (waiting > 0) parts.push(`${waiting} waiting`);
    if (isCancelling) parts.push(paint("yellow", "cancelling"));
    return `run ${run}: ${parts.join(", ")}`;
  }

  function body(): string {
    const width = Math.max(20, (out.columns ?? 80) - INDENTATION);
    const room = Math.min(MOST_LINES, Math.max(3, (out.rows ?? 24) - OTHER_LINES));
    const lines = failed.slice(-Math.min(MOST_FAILED_SHOWN, room - 2));
    const shown = Math.min(rows.size, room - lines.length);
    const free = room - lines.length - shown;
    if (free > 0) lines.push(...lastEnded.slice(-free));
    let left = shown;
    for (const [job, row] of rows) {
      if (left-- === 0) break;
      const lost =
        row.lostAt === undefined ? "" : `, reconnecting, ${duration(Date.now() - row.lostAt)}, job still running`;
      const head = `${job} ${duration(Date.now() - row.startedAt)}${row.step} on ${row.runner}${lost}`;
      const last = lastLinesOf(row).findLast((line) => line.trim() !== "");
      const space = width - head.length - 3;
      lines.push(last && space > 8 ? `${head}${paint("dim", ` │ ${last.slice(0, space)}`)}` : head);
    }
    for (const [job, why] of waits) {
      if (lines.length >= room) break;
      lines.push(paint("dim", `${job} waiting: ${why}`));
    }
    if (rows.size > shown) lines.push(paint("dim", `and ${rows.size - shown} more running`));
    drawnLines = lines.length + 1;
    return lines.join("\n");
  }

  function draw(): void {
    const over = Promise.withResolvers<void>();
    let say: (() => void) | undefined;
    const tree = new Listr(
      [
        {
          title: title(),
          task: (_context, task) => {
            say = () => {
              task.title = title();
              task.output = body();
            };
            return over.promise;
          },
          rendererOptions: { outputBar: 1 },
        },
      ],
      {
        renderer: "default",
        registerSignalListeners: false,
        rendererOptions: {
          clearOutput: true,
          formatOutput: "truncate",
          icon: { OUTPUT: " " },
          logger: new ListrLogger({ processOutput: terminal, useIcons: true, toStderr: [] }),
        },
      },
    );
    const drawn = tree.run().catch(() => {});
    const timer = setInterval(() => say?.(), REFRESH_MS);
    let isPushedUp = false;
    /** A terminal that shrinks below what is drawn keeps the rest above, and shows it again when it grows. */
    const resized = (): void => {
      const rows = out.rows ?? MOST_LINES;
      if (rows <= drawnLines) isPushedUp = true;
      else if (isPushedUp) {
        isPushedUp = false;
        terminal.toStdout(CLEAR_SCREEN, false);
      }
    };
    out.on("resize", resized);
    // Where the process exits in the middle (a second Ctrl-C), what was said meanwhile is shown, and the cursor.
    const giveBack = (): void => {
      terminal.release();
      out.write("\n");
    };
    process.once("exit", giveBack);
    stopDrawing = async () => {
      stopDrawing = undefined;
      clearInterval(timer);
      out.off("resize", resized);
      over.resolve();
      await drawn;
      process.off("exit", giveBack);
    };
  }

  async function end(event: RunEvent & { type: "run-ended" }): Promise<void> {
    await stopDrawing?.();
    const told = failures
      .slice(0, MOST_TAILS)
      .flatMap(({ job, why, tail }) => [
        paint("red", `${outcomeMark.failed} ${job}: ${why}`),
        ...tail.map((line) => paint("dim", `  │ ${line}`)),
      ]);
    const names = failures.map(({ job }) => job);
    await writeTo(out, `${[...notes, ...told, summaryOf(event, counts, names, run, paint)].join("\n")}\n`);
  }

  /** The tree makes way for the question, and comes back when it is answered. */
  async function asking({ job, question }: RunEvent & { type: "job-asking" }): Promise<void> {
    await stopDrawing?.();
    await writeTo(out, `${paint("yellow", "?")} ${job}: ${oneLine(question)} ${paint("yellow", "›")} `);
  }

  async function answered(event: RunEvent & { type: "job-answered" }): Promise<void> {
    // Its option's answer interrupts nothing.
    if (event.by === "option" || stopDrawing) return;
    // Whoever typed it ended the line.
    if (event.by === "nobody") await writeTo(out, "\n");
    draw();
  }

  function jobEnded(event: RunEvent & { type: "job-ended" }): void {
    const { job, durationMs } = event;
    const outcome = shownOutcome(event);
    const row = rows.get(job);
    rows.delete(job);
    waits.delete(job);
    counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
    if (event.gap !== undefined) notes.push(paint("yellow", `${job}: its log is incomplete: ${oneLine(event.gap)}`));
    if (outcome !== "failed" && outcome !== "lost") {
      const why = outcome === "failed, allowed" || outcome === "kept" ? outcome : "";
      lastEnded.push(endLine(job, outcome, why, durationMs));
      if (lastEnded.length > LAST_ENDED) lastEnded.shift();
      return;
    }
    const why = oneLine(event.message ?? (event.exit ? describeExit(event.exit) : outcome));
    failures.push({ job, why, tail: failures.length < MOST_TAILS ? (row ? lastLinesOf(row) : []) : [] });
    failed.push(endLine(job, outcome, why, durationMs));
    if (failed.length > MOST_FAILED_SHOWN) failed.shift();
  }

  return {
    on(event) {
      switch (event.type) {
        case "run-started":
        case "run-resumed":
          run = event.run;
          total = event.jobs.length;
          return draw();
        case "jobs-joined":
          total += event.jobs.length;
          return;
        case "runner-connected":
          return;
        case "runner-unreachable":
          notes.push(paint("yellow", runnerText(event)));
          return;
        case "job-waiting":
          waits.set(event.job, oneLine(event.message));
          return;
        case "job-started":
          waits.delete(event.job);
          rows.set(event.job, {
            startedAt: event.at,
            runner: oneLine(event.runner),
            step: "",
            tail: createTail(),
            notes: [],
            lostAt: undefined,
          });
          return;
        case "job-reconnecting":
        case "job-reconnected": {
          const row = rows.get(event.job);
          if (row) row.lostAt = event.type === "job-reconnecting" ? event.at : undefined;
          return;
        }
        case "job-step": {
          const row = rows.get(event.job);
          if (row) row.step = ` step ${event.index + 1}/${event.of}`;
          return;
        }
        case "job-output":
          return rows.get(event.job)?.tail.push(event.stream, event.bytes);
        case "job-note": {
          const from = oneLine(event.from);
          const row = rows.get(event.job);
          row?.notes.push(...noteLines(event.text, false).map((line) => `[${from}] ${line}`));
          row?.notes.splice(0, row.notes.length - TAIL_LINES);
          return;
        }
        case "job-asking":
          return asking(event);
        case "job-answered":
          return answered(event);
        case "job-retrying":
          // It waits, and begins anew; what the attempt wrote is in its log.
          rows.delete(event.job);
          return;
        case "job-ended":
          return jobEnded(event);
        case "warning":
          notes.push(paint("yellow", `warning: ${oneLine(event.message)}`));
          return;
        case "run-cancelling":
          isCancelling = true;
          notes.push(paint("yellow", oneLine(event.message)));
          return;
        case "run-ended":
          return end(event);
      }
    },
    close: () => stopDrawing?.(),
  };
}

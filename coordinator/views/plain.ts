// Plain lines, prefixed by their job, as they come: for a pipe, a file, a CI log. Lines are never mixed.
import { describeExit } from "../../protocol/exit.ts";
import type { EventReader, RunEvent } from "../events.ts";
import {
  answeredText,
  begunText,
  duration,
  joinedText,
  noteLines,
  oneLine,
  outcomeColour,
  outcomeMark,
  paintFor,
  runnerText,
  type ShownOutcome,
  safeLine,
  shownOutcome,
  writeTo,
} from "./format.ts";
import { type LineCutter, lineCutter } from "./lines.ts";
import { summaryOf } from "./summary.ts";

const WIDEST_PREFIX = 24;

/** A job that runs. */
interface Row {
  readonly prefix: string;
  readonly stdout: LineCutter;
  readonly stderr: LineCutter;
}

/** Jobs' lines, stdout and stderr alike, in the order they came. Prefixes and the summary have colour where `out` wants it. */
export function plainView(out: NodeJS.WriteStream): EventReader {
  const paint = paintFor(out);
  const colours = paint("red", "x") !== "x";
  const bar = paint("dim", "│");
  const rows = new Map<string, Row>();
  const counts = new Map<ShownOutcome, number>();
  const failures: string[] = [];
  let width = 0;
  let run = "";

  const prefixOf = (job: string): string => `${paint("cyan", job.padEnd(width))} ${bar} `;

  function takeRow(job: string): { prefix: string; rest: string } {
    const row = rows.get(job);
    rows.delete(job);
    if (!row) return { prefix: prefixOf(job), rest: "" };
    let rest = "";
    for (const cutter of [row.stdout, row.stderr]) {
      const line = cutter.rest();
      if (line !== undefined) rest += `${row.prefix}${safeLine(line, colours)}\n`;
    }
    return { prefix: row.prefix, rest };
  }

  function textOf(event: RunEvent): string {
    switch (event.type) {
      case "run-started":
      case "run-resumed":
        run = event.run;
        width = event.jobs.reduce((most, job) => Math.min(WIDEST_PREFIX, Math.max(most, job.name.length)), 0);
        return `${paint("dim", begunText(event))}\n`;
      case "jobs-joined":
        return `${paint("dim", joinedText(event))}\n`;
      case "runner-connected":
        return `${paint("dim", runnerText(event))}\n`;
      case "runner-unreachable":
        return `${paint("yellow", runnerText(event))}\n`;
      case "job-started": {
        // Of an attempt that was lost something may be left.
        const { prefix, rest } = takeRow(event.job);
        rows.set(event.job, { prefix, stdout: lineCutter(), stderr: lineCutter() });
        const again = event.attempt > 1 ? `, attempt ${event.attempt}` : "";
        return `${rest}${prefix}${paint("dim", `started on ${oneLine(event.runner)}${again}`)}\n`;
      }
      case "place-dispatched":
      case "job-dispatched":
      case "job-returned":
        return "";
      case "job-waiting":
        return `${prefixOf(event.job)}${paint("dim", `waiting: ${oneLine(event.message)}`)}\n`;
      case "job-reconnecting":
        return `${prefixOf(event.job)}${paint("yellow", `reconnecting, job still running: ${oneLine(event.message)}`)}\n`;
      case "job-reconnected":
        return `${prefixOf(event.job)}${paint("dim", "connected again")}\n`;
      case "job-retrying": {
        const { prefix, rest } = takeRow(event.job);
        const why = event.exit ? describeExit(event.exit) : (event.message ?? "lost");
        const pause = event.delayMs === 0 ? "" : ` in ${duration(event.delayMs)}`;
        const gap = event.gap === undefined ? "" : `, but its log is incomplete: ${oneLine(event.gap)}`;
        const text = `attempt ${event.attempt} ${event.outcome}: ${oneLine(why)}${gap}; tried again${pause}`;
        return `${rest}${prefix}${paint("yellow", text)}\n`;
      }
      case "job-step":
        return `${rows.get(event.job)?.prefix ?? prefixOf(event.job)}${paint("dim", `step ${event.index + 1} of ${event.of}`)}\n`;
      case "job-output": {
        const row = rows.get(event.job);
        let text = "";
        if (row)
          for (const line of row[event.stream].push(event.bytes)) text += `${row.prefix}${safeLine(line, colours)}\n`;
        return text;
      }
      case "job-note": {
        const head = `${rows.get(event.job)?.prefix ?? prefixOf(event.job)}${paint("dim", `[${oneLine(event.from)}]`)} `;
        return noteLines(event.text, colours)
          .map((line) => `${head}${line}\n`)
          .join("");
      }
      case "job-asking":
        return `${prefixOf(event.job)}${paint("yellow", `? ${oneLine(event.question)}`)}\n`;
      case "job-answered":
        return `${prefixOf(event.job)}${paint("dim", answeredText(event))}\n`;
      case "job-ended": {
        const { prefix, rest } = takeRow(event.job);
        const outcome = shownOutcome(event);
        counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
        if (outcome === "failed" || outcome === "lost") failures.push(event.job);
        const why = oneLine(event.message ?? (event.exit ? describeExit(event.exit) : ""));
        const gap = event.gap === undefined ? "" : `, but its log is incomplete: ${oneLine(event.gap)}`;
        const end = `${outcomeMark[outcome]} ${outcome}${outcome === "passed" ? "" : `: ${why}`}${gap}`;
        const took = paint("dim", `(${duration(event.durationMs)})`);
        return `${rest}${prefix}${paint(outcomeColour[outcome], end)} ${took}\n`;
      }
      case "warning":
        return `${paint("yellow", `warning: ${oneLine(event.message)}`)}\n`;
      case "run-cancelling":
        return `${paint("yellow", oneLine(event.message))}\n`;
      case "run-ended":
        return `${summaryOf(event, counts, failures, run, paint)}\n`;
    }
  }

  return {
    on(event) {
      const text = textOf(event);
      return text === "" ? undefined : writeTo(out, text);
    },
    close() {
      // Only a run that broke off has jobs that did not end.
      const text = [...rows.keys()].map((job) => takeRow(job).rest).join("");
      return text === "" ? undefined : writeTo(out, text);
    },
  };
}

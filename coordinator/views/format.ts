// What views share: colours where they are wanted, durations, and others' text made harmless.

import { styleText } from "node:util";
import { drained } from "../../protocol/drained.ts";
import { harmless, isHarmful, oneLine } from "../../protocol/text.ts";
import type { JobOutcome, RunEvent } from "../events.ts";

export type Paint = (style: Parameters<typeof styleText>[0], text: string) => string;

/** Colour for a terminal, unless NO_COLOR is set; FORCE_COLOR for the rest. See https://no-color.org. */
export function paintFor(stream: NodeJS.WriteStream, environment: NodeJS.ProcessEnv = process.env): Paint {
  const forced = environment["FORCE_COLOR"] !== undefined && environment["FORCE_COLOR"] !== "0";
  const wanted = forced || (stream.isTTY && !environment["NO_COLOR"] && environment["TERM"] !== "dumb");
  return wanted ? paintAlways : paintNever;
}

export const paintAlways: Paint = (style, text) => styleText(style, text, { validateStream: false });
export const paintNever: Paint = (_style, text) => text;

/** An outcome as views count it: a failure that the run passes with is one of its own, and so is what was not run again. */
export type ShownOutcome = JobOutcome | "failed, allowed" | "kept";

export const shownOutcome = (ended: { outcome: JobOutcome; allowed?: true; kept?: string }): ShownOutcome =>
  ended.kept ? "kept" : ended.allowed ? "failed, allowed" : ended.outcome;

export const outcomeColour = {
  passed: "green",
  failed: "red",
  cancelled: "yellow",
  lost: "magenta",
  skipped: "gray",
  "failed, allowed": "yellow",
  kept: "green",
} as const satisfies Record<ShownOutcome, string>;
export const outcomeMark = {
  passed: "✔",
  failed: "✖",
  cancelled: "■",
  lost: "?",
  skipped: "-",
  "failed, allowed": "!",
  kept: "✔",
} as const satisfies Record<ShownOutcome, string>;

export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

/** "0.3 s", "12 s", "3 m 05 s". */
export function duration(milliseconds: number): string {
  if (milliseconds < 10_000) return `${(milliseconds / 1000).toFixed(1)} s`;
  const seconds = Math.round(milliseconds / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${String(seconds % 60).padStart(2, "0")} s`;
  return `${Math.floor(minutes / 60)} h ${String(minutes % 60).padStart(2, "0")} m`;
}

/**
 * A line of a job's output, safe to show among other lines: a colour ends with it, and what a carriage return
 * overwrote is left out, as a terminal would.
 */
export function safeLine(line: string, colours: boolean): string {
  if (!isHarmful(line)) return line;
  const text = line.endsWith("\r") ? line.slice(0, -1) : line;
  const safe = harmless(text.slice(text.lastIndexOf("\r") + 1), colours);
  return safe.includes("\u001b") ? `${safe}\u001b[0m` : safe;
}

/** The lines of a note, whole; none can act on a terminal. */
export const noteLines = (text: string, colours: boolean): string[] =>
  text
    .replace(/\n$/, "")
    .split("\n")
    .map((line) => safeLine(line, colours));

export { harmless, oneLine };

/** Writes, and gives a promise only where the stream is full: then one waits for it. */
export function writeTo(stream: NodeJS.WritableStream, text: string | Uint8Array): Promise<void> | undefined {
  const { destroyed } = stream as NodeJS.WriteStream;
  if (destroyed || stream.write(text)) return undefined;
  return drained(stream);
}

/** Columns as wide as their widest cell. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    for (const [index, cell] of row.entries()) widths[index] = Math.max(widths[index] ?? 0, cell.length);
  return rows
    .map((row) =>
      row
        .map((cell, index) => (index === row.length - 1 ? cell : cell.padEnd(widths[index] ?? 0)))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** `run k3v9… goes on: 3 jobs` */
export const begunText = ({ type, run, jobs }: RunEvent & { readonly type: "run-started" | "run-resumed" }): string =>
  `run ${run}${type === "run-resumed" ? " goes on" : ""}: ${counted(jobs.length, "job")}`;

/** `runner w1: 4 slots`, or why it is not there. */
export const runnerText = (event: RunEvent & { readonly type: "runner-connected" | "runner-unreachable" }): string =>
  `runner ${oneLine(event.runner)}: ${event.type === "runner-connected" ? counted(event.slots, "slot") : oneLine(event.message)}`;

/** Jobs that a line names one by one. */
const MOST_NAMED = 10;

/** `discover gave 3 jobs: discover.a, discover.b, discover.c` */
export function joinedText({ by, jobs }: RunEvent & { readonly type: "jobs-joined" }): string {
  const named: string[] = jobs.slice(0, MOST_NAMED).map(({ name }) => name);
  if (jobs.length > MOST_NAMED) named.push("…");
  return `${by} gave ${counted(jobs.length, "job")}: ${named.join(", ")}`;
}

/** `answered by --answer: Type the version` */
export function answeredText({ question, by }: RunEvent & { readonly type: "job-answered" }): string {
  if (by === "option") return `answered by --answer: ${oneLine(question)}`;
  return by === "person" ? "answered" : "not answered";
}

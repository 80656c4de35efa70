// Plain lines, prefixed by their job, as they come: for a pipe, a file, a CI log. Lines are never mixed.
import { describeExit } from "../../protocol/exit.ts";
import type { EventReader, JobOutcome, RunEvent } from "../events.ts";
import { duration, oneLine, outcomeColour, outcomeMark, paintFor, safeLine, writeTo } from "./format.ts";
import { type LineCutter, lineCutter } from "./lines.ts";
import { summaryOf } from "./summary.ts";

/** Jobs' lines, stdout and stderr alike, in the order they came. Prefixes and the summary have colour where `out` wants it. */
export function plainView(out: NodeJS.WriteStream): EventReader {
  const paint = paintFor(out);
  const colours = paint("red", "x") !== "x";
  const cutters = new Map<string, { stdout: LineCutter; stderr: LineCutter }>();
  const counts = new Map<JobOutcome, number>();
  const failures: string[] = [];
  let width = 0;
  let run = "";

  const line = (job: string, text: string): string =>
    `${paint("cyan", job.padEnd(width))} ${paint("dim", "│")} ${text}\n`;
  const note = (text: string): string => `${text}\n`;

  function textOf(event: RunEvent): string {
    switch (event.type) {
      case "run-started":
        run = event.run;
        width = Math.min(24, Math.max(0, ...event.jobs.map((job) => job.name.length)));
        return note(paint("dim", `run ${event.run}: ${event.jobs.length} ${event.jobs.length === 1 ? "job" : "jobs"}`));
      case "runner-connected":
        return note(
          paint("dim", `runner ${oneLine(event.runner)}: ${event.slots} ${event.slots === 1 ? "slot" : "slots"}`),
        );
      case "runner-unreachable":
        return note(paint("yellow", `runner ${oneLine(event.runner)}: ${oneLine(event.message)}`));
      case "job-started":
        cutters.set(event.job, { stdout: lineCutter(), stderr: lineCutter() });
        return line(
          event.job,
          paint("dim", `started on ${oneLine(event.runner)}${event.attempt > 1 ? `, attempt ${event.attempt}` : ""}`),
        );
      case "job-step":
        return line(event.job, paint("dim", `step ${event.index + 1} of ${event.of}`));
      case "job-output": {
        const lines = cutters.get(event.job)?.[event.stream].push(event.bytes) ?? [];
        return lines.map((text) => line(event.job, safeLine(text, colours))).join("");
      }
      case "job-ended": {
        const cut = cutters.get(event.job);
        cutters.delete(event.job);
        const rests = [cut?.stdout.rest(), cut?.stderr.rest()].filter((rest) => rest !== undefined);
        counts.set(event.outcome, (counts.get(event.outcome) ?? 0) + 1);
        const why = event.message ? oneLine(event.message) : event.exit ? oneLine(describeExit(event.exit)) : "";
        if (event.outcome === "failed" || event.outcome === "lost") failures.push(event.job);
        const end = `${outcomeMark[event.outcome]} ${event.outcome}${event.outcome === "passed" ? "" : `: ${why}`} ${paint("dim", `(${duration(event.durationMs)})`)}`;
        return (
          rests.map((rest) => line(event.job, safeLine(rest, colours))).join("") +
          line(event.job, paint(outcomeColour[event.outcome], end))
        );
      }
      case "run-cancelling":
        return note(paint("yellow", oneLine(event.message)));
      case "run-ended":
        return note(summaryOf(event, counts, failures, run, paint));
    }
  }

  return {
    on(event) {
      const text = textOf(event);
      return text === "" ? undefined : writeTo(out, text);
    },
    close() {},
  };
}

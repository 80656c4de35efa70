// The last lines of a run: what came out, and where to look.

import { quote } from "../../protocol/quote.ts";
import type { RunEvent } from "../events.ts";
import { duration, oneLine, outcomeColour, type Paint, type ShownOutcome } from "./format.ts";

const MOST_FAILURES = 20;

export function summaryOf(
  event: RunEvent & { type: "run-ended" },
  counts: ReadonlyMap<ShownOutcome, number>,
  failures: readonly string[],
  run: string,
  paint: Paint,
): string {
  const parts = [...counts].map(([outcome, count]) =>
    paint(outcomeColour[outcome], `${count} ${outcome === "failed, allowed" ? "failed (allowed)" : outcome}`),
  );
  const lines = [
    `${paint(["bold", outcomeColour[event.outcome]], `run ${event.outcome}`)}: ${parts.join(", ") || "no job"} ${paint("dim", `in ${duration(event.durationMs)}`)}`,
  ];
  if (event.message) lines.push(paint(outcomeColour[event.outcome], oneLine(event.message)));
  for (const job of failures.slice(0, MOST_FAILURES))
    lines.push(paint("dim", `  coordinator logs ${quote(`${run}/${job}`)}`));
  if (failures.length > MOST_FAILURES)
    lines.push(paint("dim", `  and ${failures.length - MOST_FAILURES} more: coordinator show ${run}`));
  return lines.join("\n");
}

// Options that several commands take.
import { parseDuration } from "../protocol/duration.ts";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";

/** --lease: milliseconds, null for ever, `undefined` for the runner's own. */
export function parseLease(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === "none") return null;
  return atLeast("lease", text, limits.leaseMinimumMs, ", or none");
}

/** --silence-after, in milliseconds. */
export const parseSilence = (text: string | undefined): number =>
  text === undefined ? limits.silenceMs : atLeast("silence-after", text, limits.silenceMinimumMs);

function atLeast(option: string, text: string, minimum: number, or = ""): number {
  const milliseconds = parseDuration(text);
  if (milliseconds !== undefined && milliseconds >= minimum) return milliseconds;
  throw new SortieError(
    "USAGE",
    `--${option} takes a duration such as 90s or 10m, at least ${minimum / 1_000}s${or}, not ${JSON.stringify(text)}.`,
  );
}

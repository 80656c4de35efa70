// Options that several commands take.
import { durationOption } from "../protocol/duration.ts";
import { limits } from "../protocol/limits.ts";

/** --lease: milliseconds, null for ever, `undefined` for the runner's own. */
export function parseLease(text: string | undefined): number | null | undefined {
  if (text === undefined) return undefined;
  if (text === "none") return null;
  return durationOption("lease", text, limits.leaseMinimumMs, ", or none");
}

/** --silence-after, in milliseconds. */
export const parseSilence = (text: string | undefined): number =>
  text === undefined ? limits.silenceMs : durationOption("silence-after", text, limits.silenceMinimumMs);

/** A file that `coordinator id --new-key FILE` made. */
export const signWithOption = {
  type: "string",
  describe: "The key in this file signs the jobs; default: this coordinator's own",
} as const;

export const silenceOption = {
  type: "string",
  describe: "A runner of which nothing is heard for so long is looked for anew; default: 15s",
} as const;

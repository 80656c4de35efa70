// Text that comes from others, made harmless before a person sees it.
import { stripVTControlCharacters } from "node:util";

/**
 * What reorders text or hides in it: marks and overrides of direction, isolates, line and paragraph separators, what
 * joins and what annotates, and tags (of which an emoji's flag is made, and unseen text).
 */
const UNSEEN = "\\u061c\\u180e\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u206f\\ufeff\\ufff9-\\ufffb\\u{e0000}-\\u{e007f}";

/**
 * What a terminal may act on: C0 and C1 controls. ESC opens CSI, OSC, APC, DCS, PM and SOS alike, so without it, and
 * without its eight-bit forms, their bodies are plain text.
 */
const harmful = new RegExp(`[\\u0000-\\u001f\\u007f-\\u009f${UNSEEN}]`, "gu");
const LONGEST = 1_000;

/** The text in one line, without control characters and bidirectional overrides, at most 1,000 characters. */
export function oneLine(text: string): string {
  return text.slice(0, LONGEST).toWellFormed().replace(/\s+/g, " ").replace(harmful, "\u00b7");
}

/** Of a job's output: newline and tab stay, and so do the joiners that emoji and some scripts are written with. */
const OUTPUT = "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069";
const harmfulOutput = new RegExp(`[${OUTPUT}]`);
const harmfulEverywhere = new RegExp(harmfulOutput, "g");
/** Colours are the one sequence that may stay; a longer one is none that a terminal knows. */
const colourOrHarmful = new RegExp(`\\u001b\\[[0-9;:]{0,40}m|${harmfulOutput.source}`, "g");

/** Whether anything is in the text that `harmless` would take out. */
export const isHarmful = (text: string): boolean => harmfulOutput.test(text);

/** The text with a dot for every control character but newline and tab, and but for colours where they are wanted. */
export function harmless(text: string, colours: boolean): string {
  // Most texts hold nothing of the kind.
  if (!isHarmful(text)) return text;
  if (!colours) return stripVTControlCharacters(text).replace(harmfulEverywhere, "·");
  return text.replace(colourOrHarmful, (found) => (found.length > 1 ? found : "·"));
}

const harmfulInJson = new RegExp(harmful.source, "gu");

/** The value as JSON in one line, for programs; a terminal that it is shown in acts on none of it, since that is escaped. */
export const jsonLine = (value: unknown): string =>
  JSON.stringify(value).replace(harmfulInJson, (found) =>
    Array.from({ length: found.length }, (_, at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, "0")}`).join(
      "",
    ),
  );

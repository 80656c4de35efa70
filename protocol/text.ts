// Text that comes from others, made harmless before a person sees it.

// What a terminal may act on: C0 and C1 controls (ESC opens CSI, OSC, APC and DCS alike, so without it their bodies
// are plain text), and the characters that reorder or hide text.
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters to find.
const harmful = /[\u0000-\u001f\u007f-\u009f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g;

/** The text in one line, without control characters and bidirectional overrides, at most 1,000 characters. */
export function oneLine(text: string): string {
  return text.slice(0, 1_000).replace(/\s+/g, " ").replace(harmful, "\u00b7");
}

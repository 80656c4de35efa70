// JSON from a peer, or of a policy, read so that no two readers can take it for different things: envelope.ts, chunk.ts, pair-frames.ts
// and policy-file.ts use it. What it gives is still to be parsed by a schema.
import { limits } from "./limits.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COLON = 0x3a;
const OPENING = [0x5b, 0x7b];
const CLOSING = [0x5d, 0x7d];

/**
 * The value. Throws for what is not JSON in UTF-8, with nothing before it; and for JSON that is nested deeper than
 * `limits.jsonDepth`, names a key twice in one object (JSON.parse takes the last, others the first), or holds half a
 * character (which becomes another one wherever it is written).
 */
export function parseJson(bytes: Uint8Array): unknown {
  const names = countNames(bytes);
  const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  // Of two members of one name JSON.parse keeps one.
  if (checked(value) !== names) throw new SyntaxError("a key twice in one object");
  return value;
}

/** The value as JSON that parseJson takes: half a character is written as the replacement that it would become anyway. */
export function formatJson(value: unknown): string {
  const text = JSON.stringify(value);
  // Escapes of this kind are made for halves alone; but a text may hold a backslash before these letters, too.
  if (!text.includes("\\ud")) return text;
  return JSON.stringify(value, (_name, part: unknown) => (typeof part === "string" ? part.toWellFormed() : part));
}

/** Names of members, by their colons. Looked at before anything is made of the text: to nest costs more than to read. */
function countNames(bytes: Uint8Array): number {
  let inString = false;
  let depth = 0;
  let names = 0;
  for (let at = 0; at < bytes.length; at++) {
    const byte = bytes[at] as number;
    if (inString) {
      if (byte === BACKSLASH) at++;
      else if (byte === QUOTE) inString = false;
    } else if (byte === QUOTE) inString = true;
    else if (byte === COLON) names++;
    else if (CLOSING.includes(byte)) depth--;
    else if (OPENING.includes(byte) && ++depth > limits.jsonDepth) throw new SyntaxError("nested too deeply");
  }
  return names;
}

/** How many members the value has, with those of its parts. Throws for a text that is not whole characters. */
function checked(value: unknown): number {
  if (typeof value === "string") {
    if (!value.isWellFormed()) throw new SyntaxError("half a character");
    return 0;
  }
  if (typeof value !== "object" || value === null) return 0;
  let members = 0;
  if (Array.isArray(value)) for (const part of value) members += checked(part);
  else
    for (const name of Object.keys(value)) {
      if (!name.isWellFormed()) throw new SyntaxError("half a character");
      members += 1 + checked((value as Record<string, unknown>)[name]);
    }
  return members;
}

// The audit as lines that hang together: each is JSON and holds the SHA-256 of the bytes of the line before, so that a line that
// was changed, removed or moved shows at the one behind it. Pure; the writer goes on at the end of a chain, verify walks all of it.
import { createHash } from "node:crypto";
import * as v from "valibot";
import { AuditEvent } from "../../../protocol/audit.ts";
import { messageOf } from "../../../protocol/errors.ts";
import { PositiveInteger } from "../../../protocol/primitives.ts";

export const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "a SHA-256 in hexadecimal"));

/** What stands before the event in every line. */
const Head = v.strictObject({
  /** 1 for the first line of all, and one more for each. */
  seq: PositiveInteger,
  at: v.pipe(v.string(), v.isoTimestamp()),
  prev: Hash,
});

export interface AuditLine extends v.InferOutput<typeof Head> {
  readonly event: AuditEvent;
}

/** The end of a chain: a line's number, and its hash. */
export interface Link {
  readonly seq: number;
  readonly hash: string;
}

/** Before the first line of all. */
export const BEGINNING: Link = { seq: 0, hash: "0".repeat(64) };

export const sha256 = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

/** The next line, without its newline. Only printable ASCII: whatever others wrote there, a terminal shows it as it is. */
export function encodeLine({ seq, hash }: Link, at: number, event: AuditEvent): { text: string; link: Link } {
  const text = JSON.stringify({ seq: seq + 1, at: new Date(at).toISOString(), prev: hash, ...event }).replace(
    /[\u007f-\uffff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  return { text, link: { seq: seq + 1, hash: sha256(text) } };
}

/** Throws where the text is no line of an audit. */
export function parseLine(text: string): AuditLine {
  const { seq, at, prev, ...event } = v.parse(v.looseObject(Head.entries), JSON.parse(text));
  return { seq, at, prev, event: v.parse(AuditEvent, event) };
}

export interface Walked {
  /** The last line that hangs together with those before; `before` where there is none. */
  readonly last: Link | undefined;
  readonly lines: number;
  /** Where the last one of these ends, its newline included. */
  readonly end: number;
  /** What is wrong with the line behind it, if there is one. */
  readonly wrong?: string;
}

/** Walks one file from its beginning. Without `before` its first line may hang on anything. */
export function walk(bytes: Buffer, before: Link | undefined, each?: (line: AuditLine, link: Link) => void): Walked {
  let last = before;
  let lines = 0;
  let end = 0;
  while (end < bytes.length) {
    const at = bytes.indexOf(0x0a, end);
    const stop = (wrong: string): Walked => ({ last, lines, end, wrong });
    if (at < 0) return stop("it has no end");
    const raw = bytes.subarray(end, at);
    let line: AuditLine;
    try {
      line = parseLine(raw.toString("utf8"));
    } catch (error) {
      return stop(`it is no line of an audit (${messageOf(error)})`);
    }
    if (last && line.seq !== last.seq + 1) return stop(`it has the number ${line.seq}, and ${last.seq + 1} comes here`);
    if (last && line.prev !== last.hash)
      return stop(`it was written behind another line ${last.seq} than the one that is there`);
    last = { seq: line.seq, hash: sha256(raw) };
    each?.(line, last);
    lines++;
    end = at + 1;
  }
  return { last, lines, end };
}

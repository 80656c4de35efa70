// Whether a log holds all that its job wrote. Only headers and control chunks are read, outputs are stepped over: ten
// thousand small logs, or one of many gigabytes, are a moment's work.
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import * as v from "valibot";
import { CONTROL, HEADER_BYTES, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { Exit } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { damagedLog } from "./read-log.ts";

/** Bytes of each output, and the exit where there is one. */
export interface LogContent {
  readonly stdout: number;
  readonly stderr: number;
  readonly exit: Exit | undefined;
}

/** Shared by all calls, none of which waits: any header and any control chunk fits. */
const buffer = Buffer.allocUnsafeSlow(2 * limits.controlBytes);
/** Read behind an output that reached beyond the buffer: the next is likely as long. */
const SHORT_READ = 1024;

/** What a log holds; `undefined` where there is no such file. Throws STATE_INVALID where it is no log. */
export function measureLog(path: string): LogContent | undefined {
  let file: number;
  try {
    file = openSync(path, "r");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return measure(file, path);
  } finally {
    closeSync(file);
  }
}

function measure(file: number, path: string): LogContent {
  const size = fstatSync(file).size;
  const held = { stdout: 0, stderr: 0 };
  let at = 0;
  let begins = 0;
  let filled = 0;
  /** Whether `count` bytes stand at `at`; then they are in the buffer. */
  const has = (count: number): boolean => {
    if (at + count > size) return false;
    if (at + count <= begins + filled) return true;
    const length = at > begins + filled ? Math.max(SHORT_READ, count) : buffer.length;
    begins = at;
    filled = readSync(file, buffer, 0, length, begins);
    return filled >= count;
  };

  while (has(HEADER_BYTES)) {
    const stream = buffer[at - begins] ?? 0;
    const length = buffer.readUInt32BE(at - begins + 1);
    if (stream > CONTROL || length > (stream === CONTROL ? limits.controlBytes : limits.chunkBytes))
      throw damagedLog(path, at);
    at += HEADER_BYTES;
    // The last chunk may be cut short.
    if (stream === STDOUT) held.stdout += Math.min(length, size - at);
    if (stream === STDERR) held.stderr += Math.min(length, size - at);
    if (stream === CONTROL) {
      if (!has(length)) break;
      const exit = exitIn(buffer.subarray(at - begins, at - begins + length));
      if (exit) return { ...held, exit };
    }
    at += length;
  }
  return { ...held, exit: undefined };
}

function exitIn(control: Buffer): Exit | undefined {
  // Time marks are many, and not parsed.
  if (!control.includes('"exit"')) return undefined;
  try {
    const parsed = v.safeParse(Exit, JSON.parse(control.toString()));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** `complete`, or what is missing, by what the log holds now; `gap` is what the hashes said when the job ended. */
export function describeCompleteness(held: LogContent, gap: string | null): string {
  if (!held.exit) return "incomplete: it has no exit";
  const gaps = (["stdout", "stderr"] as const)
    .filter((stream) => held[stream] !== held.exit?.bytes[stream])
    .map((stream) => `${stream} has ${held[stream]} of ${held.exit?.bytes[stream]} bytes`);
  const missing = gaps.length > 0 ? gaps.join(", ") : gap;
  return missing === null ? "complete" : `incomplete: ${missing}`;
}

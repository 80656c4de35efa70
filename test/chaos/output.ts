// A job whose output and end its seed decides: `node output.ts SEED` writes it, and the test that asks outputOf() knows
// every byte of it.
import { writeSync } from "node:fs";
import { Random } from "./random.ts";

interface Piece {
  readonly stream: "stdout" | "stderr";
  readonly bytes: Buffer;
  /** Milliseconds after it. */
  readonly pause: number;
}

export type End = { readonly code: number } | { readonly signal: "TERM" | "KILL" | "HUP" };

export interface Output {
  readonly pieces: readonly Piece[];
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly end: End;
}

/** How much it writes at once, how often, and how long it waits between. */
const MANNERS = [
  { pieces: [20, 200], bytes: [1, 90], pause: [0, 20] },
  { pieces: [20, 120], bytes: [1, 8_000], pause: [0, 30] },
  { pieces: [10, 60], bytes: [1_000, 70_000], pause: [0, 60] },
  { pieces: [10, 40], bytes: [50_000, 200_000], pause: [0, 50] },
  { pieces: [0, 4], bytes: [0, 300], pause: [0, 400] },
] as const;

export function outputOf(seed: number): Output {
  const random = new Random(seed);
  const manner = random.pick(MANNERS);
  const isText = random.chance(50);
  const pieces: Piece[] = [];
  for (let left = random.within(manner.pieces); left > 0; left--) {
    const bytes = Buffer.alloc(random.within(manner.bytes));
    for (let at = 0; at + 4 <= bytes.length; at += 4) bytes.writeUInt32LE(random.bits(), at);
    // Letters and digits, with a line's end now and then.
    if (isText) for (let at = 0; at < bytes.length; at++) bytes[at] = ((bytes[at] as number) & 63) + 58;
    if (isText && bytes.length > 1) bytes[bytes.length - 1] = 10;
    const stream = random.chance(60) ? "stdout" : "stderr";
    pieces.push({ stream, bytes, pause: random.chance(70) ? random.within(manner.pause) : 0 });
  }
  const of = (name: "stdout" | "stderr"): Buffer =>
    Buffer.concat(pieces.filter((piece) => piece.stream === name).map((piece) => piece.bytes));
  const end: End = random.chance(80)
    ? { code: random.chance(60) ? 0 : random.between(1, 255) }
    : { signal: random.pick(["TERM", "KILL", "HUP"]) };
  return { pieces, stdout: of("stdout"), stderr: of("stderr"), end };
}

/** Runs it: each byte is written before the next is looked at, as a shell would. */
function write({ pieces, end }: Output): void {
  for (const { stream, bytes, pause } of pieces) {
    const file = stream === "stdout" ? 1 : 2;
    for (let at = 0; at < bytes.length; ) at += writeSync(file, bytes, at);
    if (pause > 0) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pause);
  }
  if ("code" in end) process.exit(end.code);
  process.kill(process.pid, `SIG${end.signal}`);
  // It comes at once, but not before this line.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 60_000);
}

if (import.meta.main) write(outputOf(Number(process.argv[2])));

// The end of a job's outputs, for the live view: a flood costs next to nothing, since bytes become lines only when
// somebody looks, and only the last few kilobytes are kept.
import { safeLine } from "./format.ts";
import { lineCutter } from "./lines.ts";

const KEPT_BYTES = 16 * 1024;
/** Small pieces are joined up to this, so that a job that writes byte by byte costs no more than another. */
const JOIN_UP_TO = 1024;
const MOST_PIECES = 256;

export interface Tail {
  push(stream: "stdout" | "stderr", bytes: Uint8Array): void;
  /** The last lines, at most `most`, of both outputs in the order they ended; none can act on a terminal. */
  lines(most: number): string[];
}

export function createTail(): Tail {
  let pieces: { readonly stream: "stdout" | "stderr"; readonly bytes: Uint8Array }[] = [];
  let held = 0;
  let isCut = false;
  let lines: string[] | undefined;

  function linesOf(): string[] {
    const cutters = { stdout: lineCutter(), stderr: lineCutter() };
    const found = pieces.flatMap(({ stream, bytes }) => cutters[stream].push(bytes));
    for (const cutter of [cutters.stdout, cutters.stderr]) found.push(cutter.rest() ?? "");
    const lines = found.filter((line) => line !== "");
    // The first may be the end of a line whose beginning is no longer there: better than nothing.
    return lines.slice(isCut && lines.length > 1 ? 1 : 0).map((line) => safeLine(line, false));
  }

  return {
    push(stream, bytes) {
      lines = undefined;
      if (bytes.length >= KEPT_BYTES) {
        // A copy: a view would keep the whole of what came.
        pieces = [{ stream, bytes: Buffer.from(bytes.subarray(-KEPT_BYTES)) }];
        held = KEPT_BYTES;
        isCut = true;
        return;
      }
      const last = pieces.at(-1);
      if (last?.stream === stream && last.bytes.length + bytes.length <= JOIN_UP_TO)
        pieces[pieces.length - 1] = { stream, bytes: Buffer.concat([last.bytes, bytes]) };
      else pieces.push({ stream, bytes: Buffer.from(bytes) });
      held += bytes.length;
      while (held > KEPT_BYTES || pieces.length > MOST_PIECES) {
        held -= pieces.shift()?.bytes.length ?? 0;
        isCut = true;
      }
    },
    lines(most) {
      lines ??= linesOf();
      return lines.slice(-most);
    },
  };
}

// Where the last lines of a log begin.
import { existsSync } from "node:fs";
import { readLog } from "./read-log.ts";

const NEWLINE = 10;

/** Bytes of the wanted outputs, taken together in their order, that stand before the last `most` lines. */
export async function measureLines(
  path: string,
  most: number,
  wanted: (stream: "stdout" | "stderr") => boolean,
): Promise<number> {
  if (!existsSync(path)) return 0;
  // A ring of the positions at which the last lines begin; one more, for a last line without an end.
  const begins: number[] = [];
  let count = 0;
  let position = 0;
  let atLineStart = true;
  for await (const part of readLog(path)) {
    if (part.kind !== "output" || !wanted(part.stream)) continue;
    for (let at = 0; at < part.bytes.length; ) {
      if (atLineStart && most > 0) begins[count++ % most] = position + at;
      const newline = part.bytes.indexOf(NEWLINE, at);
      atLineStart = newline >= 0;
      at = newline >= 0 ? newline + 1 : part.bytes.length;
    }
    position += part.bytes.length;
  }
  if (most === 0) return position;
  return count <= most ? 0 : (begins[count % most] ?? 0);
}

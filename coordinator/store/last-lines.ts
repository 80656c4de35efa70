// The last lines of a log, and then what follows. The log is read twice: once to find where they begin, holding only
// positions, once to show them; so a line of a gigabyte costs no memory.
import { type LogPart, readLog } from "./read-log.ts";

const NEWLINE = 10;
type Stream = "stdout" | "stderr";

/** The parts from the beginning of the last `most` lines of the wanted outputs on; other bytes are left out. */
export async function* lastLines(
  path: string,
  parts: AsyncIterable<LogPart>,
  most: number,
  wanted: (stream: Stream) => boolean,
): AsyncGenerator<LogPart> {
  const skip = await bytesBefore(path, most, wanted);
  for await (const part of parts) {
    if (part.kind !== "output") {
      // A note among what is left out is left out too.
      if (part.kind !== "note" || skip.stdout + skip.stderr === 0) yield part;
      continue;
    }
    if (!wanted(part.stream)) continue;
    const bytes = part.bytes.subarray(Math.min(skip[part.stream], part.bytes.length));
    skip[part.stream] -= part.bytes.length - bytes.length;
    if (bytes.length > 0) yield { ...part, bytes };
  }
}

/** Bytes of each output that stand before the last `most` lines; those are the ones that began last. */
async function bytesBefore(
  path: string,
  most: number,
  wanted: (stream: Stream) => boolean,
): Promise<Record<Stream, number>> {
  /** A ring. */
  const begins: { readonly stream: Stream; readonly position: number }[] = [];
  const position = { stdout: 0, stderr: 0 };
  const atLineStart = { stdout: true, stderr: true };
  let count = 0;
  for await (const part of readLog(path)) {
    if (part.kind !== "output" || !wanted(part.stream)) continue;
    const { stream, bytes } = part;
    for (let at = 0; at < bytes.length; ) {
      if (atLineStart[stream] && most > 0) begins[count++ % most] = { stream, position: position[stream] + at };
      const newline = bytes.indexOf(NEWLINE, at);
      atLineStart[stream] = newline >= 0;
      at = newline >= 0 ? newline + 1 : bytes.length;
    }
    position[stream] += bytes.length;
  }
  // An output with none of the last lines is left out whole, so far.
  for (const stream of ["stdout", "stderr"] as const)
    for (const begin of begins)
      if (begin.stream === stream) position[stream] = Math.min(position[stream], begin.position);
  return position;
}

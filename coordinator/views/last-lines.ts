// The last lines of a log, and then what follows. The log is read twice: once to find where they begin, holding only
// positions, once to show them; so a line of a gigabyte costs no memory.
import { measureLines } from "../store/measure-lines.ts";
import type { LogPart } from "../store/read-log.ts";

/** The parts from the beginning of the last `most` lines of the wanted streams on; others' bytes are left out. */
export async function* lastLines(
  path: string,
  parts: AsyncIterable<LogPart>,
  most: number,
  wanted: (stream: "stdout" | "stderr") => boolean,
): AsyncGenerator<LogPart> {
  let skip = await measureLines(path, most, wanted);
  for await (const part of parts) {
    if (part.kind !== "output") {
      yield part;
      continue;
    }
    if (!wanted(part.stream)) continue;
    const bytes = skip > 0 ? part.bytes.subarray(Math.min(skip, part.bytes.length)) : part.bytes;
    skip -= part.bytes.length - bytes.length;
    if (bytes.length > 0) yield { ...part, bytes };
  }
}

// The log of a single command: its output went to the person already, so only the beginning is kept.
import { ChunkDecoder, CONTROL, encodeChunk, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import { createLog, type LogWriter } from "./log.ts";

/**
 * A log that holds at most `most` bytes of output: past that, only control chunks, and before the exit one that says
 * how much of each stream is missing. Chunks may be cut differently from the journal's.
 */
export function createBoundedLog(path: string, most: number): LogWriter {
  const log = createLog(path);
  const decoder = new ChunkDecoder();
  const dropped = { stdout: 0, stderr: 0 };
  let room = most;

  return {
    async write(bytes) {
      const chunks: Uint8Array[] = [];
      for (const part of decoder.push(bytes)) {
        if (part.kind === "data") {
          const kept = part.payload.subarray(0, room);
          room -= kept.length;
          if (kept.length > 0) chunks.push(encodeChunk(part.stream, kept));
          dropped[part.stream === STDOUT ? "stdout" : "stderr"] += part.payload.length - kept.length;
          continue;
        }
        const isExit = (part.json as { type?: unknown } | null)?.type === "exit";
        if (isExit && room === 0 && dropped.stdout + dropped.stderr > 0) {
          const reason = `the log of a single command holds ${most} bytes`;
          chunks.push(encodeControl({ type: "dropped", ...dropped, reason }));
        }
        chunks.push(encodeChunk(CONTROL, Buffer.from(JSON.stringify(part.json))));
      }
      if (chunks.length > 0) await log.write(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    },
    close: log.close,
  };
}

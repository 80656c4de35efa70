// A job's log: the journal's bytes as they came, appended to one file. What `write` resolved for is in the page cache:
// it survives the coordinator, not a power cut.

import { closeSync, openSync, writeSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import { ChunkDecoder, CONTROL, encodeChunk, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";

/** Up to this a synchronous write is cheaper than a trip through the thread pool. */
const WRITE_AT_ONCE = 16 * 1024;

export interface LogWriter {
  /** Resolves once the bytes are written. Rejects with STORE_FAILED, most often for a full disk. */
  write(bytes: Uint8Array): Promise<void> | void;
  close(): Promise<void>;
}

/** A log that holds everything. */
export function createLog(path: string): LogWriter {
  let descriptor: number | undefined;
  let handle: FileHandle | undefined;
  const failed = (error: unknown): SortieError =>
    new SortieError(
      "STORE_FAILED",
      `The log ${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
      { cause: error },
    );

  async function writeLarge(bytes: Uint8Array): Promise<void> {
    try {
      privateFolder(dirname(path));
      handle ??= await open(path, "a", 0o600);
      for (let at = 0; at < bytes.length; ) at += (await handle.write(bytes, at)).bytesWritten;
    } catch (error) {
      throw failed(error);
    }
  }

  return {
    write(bytes) {
      if (bytes.length > WRITE_AT_ONCE) return writeLarge(bytes);
      try {
        if (descriptor === undefined) {
          privateFolder(dirname(path));
          descriptor = openSync(path, "a", 0o600);
        }
        for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
      } catch (error) {
        throw failed(error);
      }
    },
    async close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
      await handle?.close();
      handle = undefined;
    },
  };
}

/**
 * A log that holds at most `most` bytes of output: past that, only control chunks, and before the exit one that says
 * how much of each stream is missing.
 */
export function createBoundedLog(path: string, most: number): LogWriter {
  const log = createLog(path);
  const decoder = new ChunkDecoder();
  const dropped = { stdout: 0, stderr: 0 };
  let kept = 0;

  return {
    async write(bytes) {
      // Until the limit is near, the bytes are the journal's own; the decoder only keeps the place.
      for (const part of decoder.push(bytes)) {
        if (part.kind === "data") {
          if (kept + part.payload.length <= most && dropped.stdout + dropped.stderr === 0) {
            kept += part.payload.length;
            await log.write(encodeChunk(part.stream, part.payload));
          } else dropped[part.stream === STDOUT ? "stdout" : "stderr"] += part.payload.length;
          continue;
        }
        const isExit = (part.json as { type?: unknown } | null)?.type === "exit";
        if (isExit && dropped.stdout + dropped.stderr > 0) {
          await log.write(
            encodeControl({ type: "dropped", ...dropped, reason: `the log of a single command holds ${most} bytes` }),
          );
        }
        await log.write(encodeChunk(CONTROL, Buffer.from(JSON.stringify(part.json))));
      }
    },
    close: log.close,
  };
}

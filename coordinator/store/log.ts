// A job's log: the journal's bytes as they came, appended to one file. What was written is in the page cache: it
// survives the coordinator, not a power cut. dispatch.ts keeps the logs of a run's jobs, exec that of a command.
import {
  closeSync,
  createReadStream,
  existsSync,
  fstatSync,
  ftruncateSync,
  openSync,
  type ReadStream,
  readSync,
  write,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { ChunkDecoder, CONTROL, encodeChunk, encodeControl, HEADER_BYTES, STDOUT } from "../../protocol/chunk.ts";
import { messageOf, SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";

/** Up to this a synchronous write is cheaper than a trip through the thread pool. */
const WRITE_AT_ONCE = 16 * 1024;

const writeAsync = promisify(write);

export interface LogWriter {
  /** Done once the bytes are written; one at a time. Throws or rejects with STORE_FAILED, most often for a full disk. */
  write(bytes: Uint8Array): Promise<void> | void;
  /** After the last write is done. */
  close(): void;
}

/** A log that holds everything. Its file is made with its first byte. */
export function createLog(path: string): LogWriter {
  let descriptor: number | undefined;
  const failed = (error: unknown): SortieError =>
    new SortieError("STORE_FAILED", `The log ${path} cannot be written: ${messageOf(error)}.`, { cause: error });

  async function writeLarge(file: number, bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; )
        at += (await writeAsync(file, bytes, at, bytes.length - at, null)).bytesWritten;
    } catch (error) {
      throw failed(error);
    }
  }

  return {
    write(bytes) {
      try {
        if (descriptor === undefined) {
          privateFolder(dirname(path));
          descriptor = openSync(path, "a", 0o600);
        }
        if (bytes.length > WRITE_AT_ONCE) return writeLarge(descriptor, bytes);
        for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
      } catch (error) {
        throw failed(error);
      }
    },
    close() {
      if (descriptor !== undefined) closeSync(descriptor);
      descriptor = undefined;
    },
  };
}

/**
 * What an earlier process stored, to go on behind it; undefined where there is no log. A last chunk that a full disk or
 * a kill has cut short is taken away: it comes again, from its beginning. Its rest alone would be wrong where the runner
 * has something else there by now, such as the end of a job that its keeper lost.
 */
export function reopenLog(path: string): ReadStream | undefined {
  if (!existsSync(path)) return undefined;
  cutToWholeChunks(path);
  return createReadStream(path);
}

function cutToWholeChunks(path: string): void {
  const file = openSync(path, "r+");
  try {
    const { size } = fstatSync(file);
    const header = Buffer.alloc(HEADER_BYTES);
    for (let at = 0; at < size; ) {
      const next =
        readSync(file, header, 0, HEADER_BYTES, at) === HEADER_BYTES
          ? at + HEADER_BYTES + header.readUInt32BE(1)
          : size + 1;
      if (next > size) return ftruncateSync(file, at);
      at = next;
    }
  } finally {
    closeSync(file);
  }
}

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

// A job's log: the journal's bytes as they came, appended to one file. What was written is in the page cache: it
// survives the coordinator, not a power cut. dispatch.ts keeps the logs of a run's jobs, exec that of a command.
import { closeSync, openSync, write, writeSync } from "node:fs";
import { dirname } from "node:path";
import { promisify } from "node:util";
import { SortieError } from "../../protocol/errors.ts";
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
    new SortieError(
      "STORE_FAILED",
      `The log ${path} cannot be written: ${error instanceof Error ? error.message : String(error)}.`,
      { cause: error },
    );

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

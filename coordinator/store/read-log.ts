// Reads a log from its beginning, and follows it while it grows.
import { existsSync, type FSWatcher, watch } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { dirname } from "node:path";
import * as v from "valibot";
import { ChunkDecoder, type ChunkPart, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import type { Exit } from "../../protocol/exit.ts";
import { JournalControl } from "../../protocol/messages.ts";
import { createNotice } from "../../protocol/notice.ts";

const PIECE = 256 * 1024;
/** A watcher may miss what happened before it stood; this often the file is looked at anyway. */
const LOOK_EVERY_MS = 500;

/** `at` is the time of the last mark before it; `offset`, in the log, is where it ends. */
export type LogPart =
  | {
      readonly kind: "output";
      readonly stream: "stdout" | "stderr";
      readonly bytes: Uint8Array;
      readonly at: number;
      readonly offset: number;
    }
  | {
      readonly kind: "note";
      readonly from: string;
      readonly text: string;
      readonly at: number;
      readonly offset: number;
    }
  | { readonly kind: "dropped"; readonly stdout: number; readonly stderr: number; readonly reason: string }
  | { readonly kind: "exit"; readonly exit: Exit };

export interface ReadOptions {
  /** Waits for more until the exit. */
  readonly follow?: boolean;
  /** Whether more may come: asked at the end of the file, when following. */
  readonly isLive?: () => boolean;
  readonly signal?: AbortSignal;
}

/**
 * The log's parts, in order; it ends behind the exit, at the end of the file when not following, or when nobody
 * writes it any more. A log that ends in the middle of a chunk simply ends there; what is no log throws STATE_INVALID.
 */
export async function* readLog(path: string, options: ReadOptions = {}): AsyncGenerator<LogPart, void, undefined> {
  const growth = options.follow ? watchGrowth(path, options.signal) : undefined;
  const mayGrow = (): boolean => options.signal?.aborted !== true && (options.isLive?.() ?? true);
  let file: FileHandle | undefined;
  try {
    const decoder = new ChunkDecoder();
    let at = 0;
    let offset = 0;
    let isOver = !options.follow;
    for (;;) {
      file ??= existsSync(path) ? await open(path, "r") : undefined;
      const buffer = Buffer.allocUnsafe(PIECE);
      const count = file ? (await file.read(buffer, 0, PIECE, offset)).bytesRead : 0;
      offset += count;
      for (const part of decode(decoder, buffer.subarray(0, count), path)) {
        if (part.kind === "data") {
          if (part.stream === STDOUT || part.stream === STDERR)
            yield {
              kind: "output",
              stream: part.stream === STDOUT ? "stdout" : "stderr",
              bytes: part.payload,
              at,
              offset: decoder.offset,
            };
          continue;
        }
        const control = v.safeParse(JournalControl, part.json);
        if (!control.success) throw damagedLog(path, decoder.offset);
        if ("at" in control.output) at = control.output.at;
        if (control.output.type === "note") {
          const { from, text } = control.output;
          yield { kind: "note", from, text, at, offset: decoder.offset };
        }
        if (control.output.type === "dropped") yield { kind: "dropped", ...control.output };
        if (control.output.type === "exit") {
          yield { kind: "exit", exit: control.output };
          return;
        }
      }
      if (count > 0) continue;
      if (isOver) return;
      // Read once more afterwards: what was written before its writer went away is part of the log.
      if (mayGrow()) await growth?.next();
      else isOver = true;
    }
  } finally {
    growth?.close();
    await file?.close();
  }
}

function* decode(decoder: ChunkDecoder, bytes: Uint8Array, path: string): Generator<ChunkPart> {
  try {
    yield* decoder.push(bytes);
  } catch (error) {
    throw error instanceof SortieError && error.code === "PROTOCOL" ? damagedLog(path, decoder.offset) : error;
  }
}

/** STATE_INVALID: the file is not what a runner sent. */
export const damagedLog = (path: string, offset: number): SortieError =>
  new SortieError("STATE_INVALID", `The log ${path} is damaged near byte ${offset}.`, {
    hint: "What stands before that place is as it was; nothing brings back the rest.",
  });

function watchGrowth(path: string, signal: AbortSignal | undefined): { next(): Promise<void>; close(): void } {
  const notice = createNotice();
  let watcher: FSWatcher | undefined;
  try {
    watcher = watch(existsSync(path) ? path : dirname(path), notice.tell);
    watcher.on("error", notice.tell);
  } catch {
    // No watches are left, or the folder is not there yet: looking now and then does.
  }
  signal?.addEventListener("abort", notice.tell);
  return {
    next: () => notice.next(LOOK_EVERY_MS),
    close() {
      watcher?.close();
      signal?.removeEventListener("abort", notice.tell);
    },
  };
}

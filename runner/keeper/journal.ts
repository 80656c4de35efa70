// A job's chunks between the pipes they came from and the sessions that send them: append at the end, read from any
// offset that is kept, follow, forget what was acknowledged. A byte is on disk before it is sent; a reader that keeps
// up is served from memory. docs/journal.md tells what happens at each limit, and on a full disk.
import { CONTROL, type DataStream, encodeControl, HEADER_BYTES, STDOUT, writeHeader } from "../../protocol/chunk.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { limits } from "../../protocol/limits.ts";
import type { DiskBudget } from "./disk-budget.ts";
import type { Segments } from "./segments.ts";

const COPIED_BELOW = 8 * 1024;
/** More pieces than this are copied together: each costs more on its way than its copy. */
const MOST_PIECES = 32;
/**
 * Small chunks lie side by side in blocks, which grow up to this size: as an object each, the chunks of a process that
 * writes byte by byte would cost thirty times their size.
 */
const BLOCK_BYTES = 64 * 1024;
const FIRST_BLOCK_BYTES = 1024;

/** So far a job runs ahead of an owner that keeps up: a window under way, and as much again to send next. */
const AHEAD_BYTES = Math.max(2 * limits.window, limits.windowMaximum);
/** An owner that takes nothing for so long does not keep up. */
const PATIENCE_MS = 100;

/** The bytes from `start` to `end`; what was written never changes. */
interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  end: number;
  /** Bytes of both outputs before it, where it begins with a chunk. */
  readonly before: { stdout: number; stderr: number } | undefined;
}

/** Bytes of a journal from an offset on, for one reader. */
export interface JournalReader {
  /** At most `most` bytes in pieces; `undefined` after the exit chunk, or once closed. One at a time. Rejects with OFFSET_GONE. */
  read(most: number): Promise<readonly Uint8Array[] | undefined>;
  close(): void;
}

export class Journal {
  readonly #files: Segments;
  readonly #disk: DiskBudget;
  readonly tally = new OutputTally();
  /** What readers may still want and what is not on disk yet, in order. */
  #pieces: Piece[] = [];
  /** The block that small chunks go to, and how much of it is taken. */
  #block = new Uint8Array(0);
  #taken = 0;
  #end = 0;
  /** On disk up to here, always between two chunks; and the bytes of both outputs before that. */
  #written = 0;
  #writtenOutputs = { stdout: 0, stderr: 0 };
  #writing = false;
  #scheduled = false;
  /** The disk takes nothing: readers are served from memory, and it is tried again now and then. */
  #retry: NodeJS.Timeout | undefined;
  #acknowledged = 0;
  #closed = false;
  #removed = false;
  /** Whether the owner is there to make room by acknowledging. */
  #owned = false;
  #waitsForNobody = false;
  /** The owner keeps the job waiting: it does not wait any more. */
  #ownerIsSlow = false;
  #patience: NodeJS.Timeout | undefined;
  #dropped = { stdout: 0, stderr: 0 };
  readonly #readers = new Set<{ at: number }>();
  #wakeReaders: (() => void)[] = [];
  #onRoom: (() => void)[] = [];
  #onSettled: (() => void)[] = [];

  constructor(files: Segments, disk: DiskBudget) {
    this.#files = files;
    this.#disk = disk;
  }

  /** A journal that is over, read again from its files. */
  static reopen(files: Segments, disk: DiskBudget): Journal {
    const journal = new Journal(files, disk);
    journal.#end = files.end;
    journal.#written = files.end;
    journal.#closed = true;
    return journal;
  }

  /** The offset behind the last byte. */
  get end(): number {
    return this.#end;
  }

  /** Whether the exit chunk is in it. */
  get over(): boolean {
    return this.#closed;
  }

  /** The first offset that can be read, and the bytes of both outputs before it. */
  get start(): { readonly offset: number; readonly before: { readonly stdout: number; readonly stderr: number } } {
    return this.#files.start;
  }

  /** Whether its source must wait. What nobody waits for is dropped instead, and told. */
  get full(): boolean {
    if (this.#closed || this.#waitsForNobody) return false;
    return this.#memoryIsFull || (this.#owned && (this.#atLimit || this.#waitsForOwner));
  }

  /** An owner that is a little slower than the job is waited for: so nothing is read back from the disk. */
  get #waitsForOwner(): boolean {
    return !this.#ownerIsSlow && this.#end - this.#acknowledged >= AHEAD_BYTES;
  }

  get #memoryIsFull(): boolean {
    return this.#end - this.#written >= (this.#disk.memoryIsShort ? BLOCK_BYTES : limits.journalMemoryBytes);
  }

  get #atLimit(): boolean {
    const { job, all } = this.#disk.limits;
    const bytes = this.#files.bytes + this.#end - this.#written;
    // Each may hold a little in any case: journals that nobody ever claims must not stop the jobs after them.
    return bytes >= job || (this.#disk.used >= all && bytes >= limits.journalMinimumBytes);
  }

  /** Bytes of an output, as one chunk; or as so many dropped ones, at a limit with no owner to make room. */
  appendData(stream: DataStream, payload: Uint8Array): void {
    if (this.#atLimit) this.#makeRoom();
    if ((this.#atLimit && (!this.#owned || this.#waitsForNobody)) || (this.#memoryIsFull && this.#waitsForNobody)) {
      this.#dropped[stream === STDOUT ? "stdout" : "stderr"] += payload.length;
      return;
    }
    this.#tellDropped();
    this.#appendChunk(stream, payload);
    this.tally.add(stream, payload);
  }

  /** A control chunk: always taken. */
  appendControl(message: Parameters<typeof encodeControl>[0]): void {
    if (message.type === "exit") this.#tellDropped();
    this.#appendChunk(CONTROL, encodeControl(message).subarray(HEADER_BYTES));
  }

  #tellDropped(): void {
    if (this.#dropped.stdout + this.#dropped.stderr === 0) return;
    const dropped = this.#dropped;
    this.#dropped = { stdout: 0, stderr: 0 };
    this.appendControl({
      type: "dropped",
      ...dropped,
      reason: `the journal was full (${this.#disk.describe()}) and its coordinator away`,
    });
  }

  #appendChunk(stream: DataStream | typeof CONTROL, payload: Uint8Array): void {
    // A large payload is kept as it is: copying it together with its header costs a tenth of a busy pipe.
    const copied = payload.length < COPIED_BELOW;
    const at = this.#take(HEADER_BYTES + (copied ? payload.length : 0));
    writeHeader(this.#block, at, stream, payload.length);
    if (copied) this.#block.set(payload, at + HEADER_BYTES);
    else this.#push({ offset: this.#end, bytes: payload, start: 0, end: payload.length, before: undefined });
    this.#schedule();
  }

  /** Appends so many bytes of the block, for the caller to write, and gives where they begin in it. */
  #take(length: number): number {
    if (this.#block.length - this.#taken < length) {
      const grown = Math.min(Math.max(this.#block.length * 4, FIRST_BLOCK_BYTES), BLOCK_BYTES);
      this.#block = new Uint8Array(Math.max(grown, length));
      this.#taken = 0;
    }
    const at = this.#taken;
    this.#taken += length;
    const last = this.#pieces.at(-1);
    if (last?.bytes === this.#block && last.end === at) {
      last.end = this.#taken;
      this.#grow(length);
    } else {
      this.#push({
        offset: this.#end,
        bytes: this.#block,
        start: at,
        end: this.#taken,
        before: { ...this.tally.bytes },
      });
    }
    return at;
  }

  #push(piece: Piece): void {
    this.#pieces.push(piece);
    this.#grow(piece.end - piece.start);
  }

  #grow(length: number): void {
    this.#end += length;
    this.#disk.hold(length);
  }

  /** After the exit chunk: readers end behind it. */
  close(): void {
    this.#closed = true;
    this.#schedule();
    this.#wake();
    this.#tellRoom();
  }

  /** Resolves when everything is on disk; false where the disk does not take it. */
  async settled(): Promise<boolean> {
    while (this.#written < this.#end && !this.#retry)
      await new Promise<void>((resolve) => this.#onSettled.push(resolve));
    return this.#written === this.#end;
  }

  /** Resolves when there is room again, or nothing more will be read. */
  async room(): Promise<void> {
    if (this.#waitsForOwner)
      this.#patience ??= setTimeout(() => {
        // The job goes on without waiting, to the disk, until the owner has caught up.
        this.#patience = undefined;
        this.#ownerIsSlow = true;
        this.#tellRoom();
      }, PATIENCE_MS);
    while (this.full) await new Promise<void>((resolve) => this.#onRoom.push(resolve));
    clearTimeout(this.#patience);
    this.#patience = undefined;
  }

  /** Whether there is an owner: then a full journal makes the process wait, and else drops what it writes. */
  setOwned(owned: boolean): void {
    this.#owned = owned;
    if (!owned) this.#tellRoom();
  }

  /** The job is being ended: what does not fit from now on is dropped, and told, rather than waited for. */
  waitForNobody(): void {
    this.#waitsForNobody = true;
    this.#tellRoom();
  }

  acknowledge(offset: number): void {
    this.#acknowledged = Math.min(Math.max(this.#acknowledged, offset), this.#end);
    if (this.#end - this.#acknowledged < AHEAD_BYTES / 4) this.#ownerIsSlow = false;
    if (this.#retry) this.#skipAcknowledged();
    if (this.#atLimit) this.#makeRoom();
    this.#trim();
    this.#tellRoom();
  }

  /** Gives the disk back what the owner has stored. */
  dropAcknowledged(): void {
    try {
      // The last segment can go only once another one follows it.
      if (this.#files.lastBytes > 0 && this.#acknowledged >= this.#files.end && !this.#writing && !this.#closed)
        this.#files.begin(this.#files.end, this.#writtenOutputs);
    } catch (error) {
      this.#disk.failed(error);
    }
    this.#files.dropBefore(this.#acknowledged);
  }

  #makeRoom(): void {
    this.dropAcknowledged();
    if (this.#disk.used >= this.#disk.limits.all) this.#disk.makeRoom();
  }

  /** A reader from `offset` on. */
  read(offset: number): JournalReader {
    const reader = { at: offset };
    let closed = false;
    this.#readers.add(reader);
    return {
      read: async (most) => {
        while (!closed && reader.at >= this.#readable) {
          if (this.#closed && reader.at >= this.#end) return undefined;
          await new Promise<void>((resolve) => this.#wakeReaders.push(resolve));
        }
        if (closed) return undefined;
        const pieces = this.#fromMemory(reader.at, most) ?? [await this.#files.read(reader.at, most)];
        for (const piece of pieces) reader.at += piece.length;
        this.#trim();
        return pieces;
      },
      close: () => {
        closed = true;
        this.#readers.delete(reader);
        this.#trim();
        this.#wake();
      },
    };
  }

  /** Removes its files. Readers that still wait end. */
  remove(): void {
    this.#closed = true;
    this.#removed = true;
    clearTimeout(this.#retry);
    clearTimeout(this.#patience);
    this.#disk.hold(-this.#heldBytes());
    this.#pieces = [];
    this.#written = this.#end;
    // The number of a descriptor that is closed under a write may be another file's by then.
    if (!this.#writing) this.#files.remove();
    this.#wake();
    this.#tellSettled();
  }

  get #readable(): number {
    return this.#retry ? this.#end : this.#written;
  }

  #fromMemory(offset: number, most: number): readonly Uint8Array[] | undefined {
    const first = this.#find(offset);
    if (first < 0) return undefined;
    const pieces: Uint8Array[] = [];
    let room = Math.min(most, this.#readable - offset);
    for (let index = first; index < this.#pieces.length && room > 0; index++) {
      const piece = this.#pieces[index] as Piece;
      const from = piece.start + (index === first ? offset - piece.offset : 0);
      const bytes = piece.bytes.subarray(from, Math.min(piece.end, from + room));
      pieces.push(bytes);
      room -= bytes.length;
    }
    return pieces.length > MOST_PIECES ? [Buffer.concat(pieces)] : pieces;
  }

  #schedule(): void {
    if (this.#writing || this.#scheduled || this.#retry) return;
    this.#scheduled = true;
    // What comes in one go is one write.
    queueMicrotask(() => {
      this.#scheduled = false;
      this.#write();
    });
  }

  /** Writes what is there, and goes on while more comes. */
  #write(): void {
    while (!this.#writing && this.#written < this.#end) {
      const from = this.#written;
      const to = this.#end;
      const outputs = { ...this.tally.bytes };
      const pieces: Uint8Array[] = [];
      for (let index = this.#find(from); index < this.#pieces.length; index++) {
        const { bytes, start, end, offset } = this.#pieces[index] as Piece;
        pieces.push(bytes.subarray(start + Math.max(0, from - offset), end));
      }
      try {
        if (this.#files.isEmpty || this.#files.end !== from || this.#files.lastBytes >= this.#disk.segmentBytes) {
          const gap = !this.#files.isEmpty && this.#files.end !== from;
          this.#files.begin(from, this.#writtenOutputs);
          // What was skipped is with the owner, and so is everything before it: a journal has no holes.
          if (gap) this.#files.dropBefore(from);
        }
        const later = this.#files.write(pieces, to - from);
        if (later) {
          this.#writing = true;
          later.then(
            () => {
              this.#writing = false;
              if (this.#removed) return this.#files.remove();
              this.#wrote(to, outputs);
              this.#write();
            },
            (error: unknown) => {
              this.#writing = false;
              if (this.#removed) return this.#files.remove();
              this.#failed(error);
            },
          );
          return;
        }
        this.#wrote(to, outputs);
      } catch (error) {
        return this.#failed(error);
      }
    }
    if (!this.#closed || this.#writing || this.#written < this.#end) return;
    this.#files.close();
    this.#block = new Uint8Array(0);
  }

  #wrote(to: number, outputs: { stdout: number; stderr: number }): void {
    this.#written = Math.max(this.#written, to);
    this.#writtenOutputs = outputs;
    this.#trim();
    this.#wake();
    this.#tellRoom();
    this.#tellSettled();
  }

  /** A full disk, most often. Meanwhile readers get what memory holds, which is what the owner acknowledges next. */
  #failed(error: unknown): void {
    this.#disk.failed(error);
    this.#retry ??= setTimeout(() => {
      this.#retry = undefined;
      this.#write();
    }, limits.journalRetryMs);
    this.#retry.unref();
    this.#wake();
    this.#tellSettled();
  }

  /** What the owner has stored need not come to the disk any more; it goes on at the beginning of a chunk. */
  #skipAcknowledged(): void {
    const piece = this.#pieces.findLast(
      ({ offset, before }) => before && offset > this.#written && offset <= this.#acknowledged,
    );
    if (!piece?.before) return;
    this.#written = piece.offset;
    this.#writtenOutputs = piece.before;
  }

  /** Lets go what is on disk and no reader is about to read; all of it, where memory is short. */
  #trim(): void {
    const low = Math.min(Number.POSITIVE_INFINITY, ...[...this.#readers].map(({ at }) => at));
    const most = this.#disk.memoryIsShort ? 0 : limits.journalMemoryBytes;
    let gone = 0;
    for (const { offset, start, end } of this.#pieces) {
      const behind = offset + (end - start);
      if (behind > this.#written || (behind > low && this.#end - offset <= most)) break;
      gone++;
    }
    if (gone === 0) return;
    const before = this.#heldBytes();
    this.#pieces.splice(0, gone);
    this.#disk.hold(this.#heldBytes() - before);
  }

  #heldBytes(): number {
    const first = this.#pieces[0];
    return first ? this.#end - first.offset : 0;
  }

  /** The index of the piece that the offset lies in; -1 where it is not in memory. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#pieces[middle] as Piece).offset <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #wake(): void {
    if (this.#wakeReaders.length === 0) return;
    for (const resolve of this.#wakeReaders.splice(0)) resolve();
  }

  #tellSettled(): void {
    for (const resolve of this.#onSettled.splice(0)) resolve();
  }

  #tellRoom(): void {
    if (this.#onRoom.length > 0 && !this.full) for (const resolve of this.#onRoom.splice(0)) resolve();
  }
}

// A job's chunks between the pipes they came from and the session that sends them: append at the end, read from an
// offset, forget what was acknowledged. Held in memory and bounded; when it is full the keeper stops reading the
// pipes, and the process waits in its write.
import { type DataStream, HEADER_BYTES, writeHeader } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";

/**
 * Unacknowledged bytes at which the pipes are no longer read: the window under way, and as much again to send next;
 * and no less than the largest window, which a caller may leave unacknowledged as a whole.
 */
const FULL_AT = Math.max(2 * limits.window, limits.windowMaximum);
const COPIED_BELOW = 8 * 1024;
/** More pieces than this are copied together: each costs more on its way than its copy. */
const MOST_PIECES = 32;
/**
 * Small chunks lie side by side in blocks, which grow up to this size: as an object each, the chunks of a process that
 * writes byte by byte would cost thirty times their size.
 */
const BLOCK_BYTES = 64 * 1024;
const FIRST_BLOCK_BYTES = 1024;

/** The bytes from `start` to `end`; what was written never changes. */
interface Piece {
  readonly offset: number;
  readonly bytes: Uint8Array;
  readonly start: number;
  end: number;
}

export class Journal {
  /** What was not acknowledged yet, in order: large payloads as they came, and runs of small chunks in blocks. */
  #pieces: Piece[] = [];
  /** The block that small chunks go to, and how much of it is taken. */
  #block = new Uint8Array(0);
  #taken = 0;
  #end = 0;
  #acknowledged = 0;
  #closed = false;
  #wakeReaders: (() => void)[] = [];
  #onRoom: (() => void)[] = [];

  /** The offset behind the last byte. */
  get end(): number {
    return this.#end;
  }

  get full(): boolean {
    return this.#end - this.#acknowledged >= FULL_AT;
  }

  /** One chunk of a payload that is kept as it is: copying large ones together with their headers costs a tenth of a busy pipe. */
  appendData(stream: DataStream, payload: Uint8Array): void {
    const copied = payload.length < COPIED_BELOW;
    const at = this.#take(HEADER_BYTES + (copied ? payload.length : 0));
    writeHeader(this.#block, at, stream, payload.length);
    if (copied) this.#block.set(payload, at + HEADER_BYTES);
    else this.#push(payload);
    this.#wake();
  }

  /** Takes whole chunks always, also when full: whoever produces them asks `full` before it makes more. */
  append(chunk: Uint8Array): void {
    if (chunk.length < COPIED_BELOW) {
      const at = this.#take(chunk.length);
      this.#block.set(chunk, at);
    } else {
      this.#push(chunk);
    }
    this.#wake();
  }

  /** After the exit chunk: readers end behind it. */
  close(): void {
    this.#closed = true;
    this.#wake();
    for (const resolve of this.#onRoom.splice(0)) resolve();
  }

  /** Resolves when there is room again, or nothing more will be read. */
  async room(): Promise<void> {
    while (this.full && !this.#closed) await new Promise<void>((resolve) => this.#onRoom.push(resolve));
  }

  acknowledge(offset: number): void {
    this.#acknowledged = Math.min(Math.max(this.#acknowledged, offset), this.#end);
    let gone = 0;
    for (const { offset: begin, start, end } of this.#pieces) {
      if (begin + (end - start) > this.#acknowledged) break;
      gone++;
    }
    if (gone > 0) this.#pieces.splice(0, gone);
    if (!this.full) for (const resolve of this.#onRoom.splice(0)) resolve();
  }

  /**
   * Bytes from `offset` on, at most `most`, in pieces; `undefined` behind the end of a closed journal, or once `stopped`.
   * Rejects with NOT_FOUND where the offset was acknowledged and is gone.
   */
  async read(offset: number, most: number, stopped: () => boolean): Promise<readonly Uint8Array[] | undefined> {
    while (offset >= this.#end) {
      if (this.#closed || stopped()) return undefined;
      await new Promise<void>((resolve) => this.#wakeReaders.push(resolve));
    }
    if (stopped()) return undefined;
    const first = this.#find(offset);
    if (first < 0) throw new SortieError("NOT_FOUND", `The journal's offset ${offset} was acknowledged and is gone.`);
    const pieces: Uint8Array[] = [];
    let room = most;
    for (let index = first; index < this.#pieces.length && room > 0; index++) {
      const piece = this.#pieces[index] as Piece;
      const from = piece.start + (index === first ? offset - piece.offset : 0);
      const bytes = piece.bytes.subarray(from, Math.min(piece.end, from + room));
      pieces.push(bytes);
      room -= bytes.length;
    }
    return pieces.length > MOST_PIECES ? [Buffer.concat(pieces)] : pieces;
  }

  /** Readers look again: one of them was stopped. */
  nudge(): void {
    this.#wake();
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
    if (last?.bytes === this.#block && last.end === at) last.end = this.#taken;
    else this.#pieces.push({ offset: this.#end, bytes: this.#block, start: at, end: this.#taken });
    this.#end += length;
    return at;
  }

  #push(bytes: Uint8Array): void {
    this.#pieces.push({ offset: this.#end, bytes, start: 0, end: bytes.length });
    this.#end += bytes.length;
  }

  /** The index of the piece that the offset lies in; -1 where it is gone. */
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
}

// A job's chunks between the pipes they came from and the session that sends them: append at the end, read from an
// offset, forget what was acknowledged. Held in memory and bounded; when it is full the keeper stops reading the
// pipes, and the process waits in its write.

import { type DataStream, encodeChunk, HEADER_BYTES, writeHeader } from "../../protocol/chunk.ts";
import { limits } from "../../protocol/limits.ts";

/** Unacknowledged bytes at which the pipes are no longer read: the window under way, and as much again to send next. */
const FULL_AT = 2 * limits.window;
const COPIED_BELOW = 8 * 1024;
/** More pieces than this are copied together: each costs more on its way than its copy. */
const MOST_PIECES = 32;

export class Journal {
  /** Chunks not acknowledged yet, or a header and its payload, and the offset each begins at. */
  #chunks: Uint8Array[] = [];
  #offsets: number[] = [];
  #end = 0;
  #held = 0;
  #closed = false;
  #wakeReaders: (() => void)[] = [];
  #onRoom: (() => void)[] = [];

  /** The offset behind the last byte. */
  get end(): number {
    return this.#end;
  }

  get full(): boolean {
    return this.#held >= FULL_AT;
  }

  /** One chunk of a payload that is kept as it is: copying large ones together with their headers costs a tenth of a busy pipe. */
  appendData(stream: DataStream, payload: Uint8Array): void {
    if (payload.length < COPIED_BELOW) return this.append(encodeChunk(stream, payload));
    const header = new Uint8Array(HEADER_BYTES);
    writeHeader(header, 0, stream, payload.length);
    this.append(header);
    this.append(payload);
  }

  /** Takes whole chunks always, also when full: whoever produces them asks `full` before it makes more. */
  append(chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#offsets.push(this.#end);
    this.#end += chunk.length;
    this.#held += chunk.length;
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
    let gone = 0;
    while (gone < this.#chunks.length && (this.#offsets[gone] ?? 0) + (this.#chunks[gone]?.length ?? 0) <= offset) {
      this.#held -= this.#chunks[gone]?.length ?? 0;
      gone++;
    }
    if (gone === 0) return;
    this.#chunks.splice(0, gone);
    this.#offsets.splice(0, gone);
    if (!this.full) for (const resolve of this.#onRoom.splice(0)) resolve();
  }

  /** Bytes from `offset` on, at most `most`, in pieces; `undefined` behind the end of a closed journal, or once `stopped`. */
  async read(offset: number, most: number, stopped: () => boolean): Promise<readonly Uint8Array[] | undefined> {
    while (offset >= this.#end) {
      if (this.#closed || stopped()) return undefined;
      await new Promise<void>((resolve) => this.#wakeReaders.push(resolve));
    }
    if (stopped()) return undefined;
    const pieces: Uint8Array[] = [];
    let room = most;
    for (let index = this.#find(offset); index < this.#chunks.length && room > 0; index++) {
      const chunk = this.#chunks[index];
      if (!chunk) throw new RangeError(`offset ${offset} was acknowledged and is gone`);
      const skip = pieces.length === 0 ? offset - (this.#offsets[index] ?? 0) : 0;
      const piece = chunk.subarray(skip, skip + room);
      pieces.push(piece);
      room -= piece.length;
    }
    if (pieces.length === 0) throw new RangeError(`offset ${offset} was acknowledged and is gone`);
    return pieces.length > MOST_PIECES ? [Buffer.concat(pieces)] : pieces;
  }

  /** Readers look again: one of them was stopped. */
  nudge(): void {
    this.#wake();
  }

  #find(offset: number): number {
    let low = 0;
    let high = this.#offsets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#offsets[middle] ?? 0) <= offset) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #wake(): void {
    if (this.#wakeReaders.length === 0) return;
    for (const resolve of this.#wakeReaders.splice(0)) resolve();
  }
}

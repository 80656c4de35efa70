// A job's chunks between the pipes they came from and the session that sends them: append at the end, read from an
// offset, forget what was acknowledged. Held in memory and bounded; when it is full the keeper stops reading the
// pipes, and the process waits in its write.

/** Unacknowledged bytes at which the pipes are no longer read: the window under way, and as much again to send next. */
const FULL_AT = 4 * 1024 * 1024;
/** Small chunks are joined up to this size, so that many of them cost one message. */
const JOIN_UP_TO = 64 * 1024;

export class Journal {
  /** Chunks not acknowledged yet, and the offset each begins at. */
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

  /** Bytes from `offset` on, at most `most`; `undefined` behind the end of a closed journal, or once `stopped`. */
  async read(offset: number, most: number, stopped: () => boolean): Promise<Uint8Array | undefined> {
    while (offset >= this.#end) {
      if (this.#closed || stopped()) return undefined;
      await new Promise<void>((resolve) => this.#wakeReaders.push(resolve));
    }
    if (stopped()) return undefined;
    let index = this.#find(offset);
    const first = this.#chunks[index];
    if (!first) throw new RangeError(`offset ${offset} was acknowledged and is gone`);
    const skip = offset - (this.#offsets[index] ?? 0);
    if (first.length - skip >= Math.min(most, JOIN_UP_TO)) return first.subarray(skip, skip + most);
    const parts = [first.subarray(skip)];
    let length = first.length - skip;
    for (index++; index < this.#chunks.length; index++) {
      const next = this.#chunks[index];
      if (!next || length + next.length > Math.min(most, JOIN_UP_TO)) break;
      parts.push(next);
      length += next.length;
    }
    return parts.length === 1 ? parts[0] : Buffer.concat(parts, length);
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

// Bytes from one that writes to one that reads, no faster than they are read: the pipe between two commands, and the
// lines of one. command.ts uses it.

export class Handoff implements AsyncIterable<Uint8Array> {
  #bytes: Uint8Array | undefined;
  #over = false;
  #left = false;
  #taken: (() => void) | undefined;
  #came: (() => void) | undefined;

  /**
   * Resolves once the bytes were taken, and what was done with them; at once when the reader has left. One at a time: the
   * next ones come when these were taken.
   */
  async push(bytes: Uint8Array): Promise<void> {
    if (this.#left || bytes.length === 0) return;
    this.#bytes = bytes;
    this.#came?.();
    await new Promise<void>((resolve) => {
      this.#taken = resolve;
    });
  }

  /** Nothing more comes. */
  end(): void {
    this.#over = true;
    this.#came?.();
  }

  /** Nobody reads any more, also where a reader still waits: whoever writes must not wait for it. */
  leave(): void {
    this.#left = true;
    this.#bytes = undefined;
    this.#taken?.();
    this.#came?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      while (!this.#left) {
        if (this.#bytes) {
          yield this.#bytes;
          this.#bytes = undefined;
          this.#taken?.();
        } else if (this.#over) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#came = resolve;
          });
        }
      }
    } finally {
      this.leave();
    }
  }
}

// Bytes from one that writes to one that reads, no faster than they are read: the pipe between two commands, and the
// lines of one. command.ts uses it.

export class Handoff implements AsyncIterable<Uint8Array> {
  #bytes: Uint8Array | undefined;
  #over: { readonly error?: unknown } | undefined;
  #left = false;
  #taken: (() => void) | undefined;
  #came: (() => void) | undefined;

  /** Resolves once the bytes were taken, and what was done with them; at once when the reader has left. */
  async push(bytes: Uint8Array): Promise<void> {
    if (this.#left || bytes.length === 0) return;
    this.#bytes = bytes;
    this.#came?.();
    await new Promise<void>((resolve) => {
      this.#taken = resolve;
    });
  }

  /** Nothing more comes; with an error where that is not the end that it should have. */
  end(over: { readonly error?: unknown } = {}): void {
    this.#over ??= over;
    this.#came?.();
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Uint8Array, void, undefined> {
    try {
      for (;;) {
        if (this.#bytes) {
          yield this.#bytes;
          this.#bytes = undefined;
          this.#taken?.();
        } else if (this.#over) {
          if ("error" in this.#over) throw this.#over.error;
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#came = resolve;
          });
        }
      }
    } finally {
      this.#left = true;
      this.#bytes = undefined;
      this.#taken?.();
    }
  }
}

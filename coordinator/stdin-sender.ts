// Sends a source of bytes as stdin chunks, at most a window beyond what the runner said it received; then `eof`.
import type { RawCarriage } from "../protocol/call.ts";
import { encodeControl, HEADER_BYTES, STDIN, writeHeader } from "../protocol/chunk.ts";
import { limits } from "../protocol/limits.ts";

/** Starts to send at once. A source that fails ends the attempt: half an input must never look like a whole one. */
export class StdinSender {
  #sent = 0;
  #received = 0;
  #stopped = false;
  #wake: (() => void) | undefined;
  readonly #call: RawCarriage;

  constructor(call: RawCarriage, source: AsyncIterable<Uint8Array>) {
    this.#call = call;
    this.#send(source).catch((error: unknown) => {
      if (!this.#stopped) call.abort(error instanceof Error ? error : new Error(String(error)));
    });
  }

  /** The runner's process took, or threw away, everything before this offset. */
  received(offset: number): void {
    this.#received = Math.max(this.#received, offset);
    this.#wake?.();
  }

  /** The job is over: what is left of the source is not sent. */
  stop(): void {
    this.#stopped = true;
    this.#wake?.();
  }

  async #send(source: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const bytes of source) {
      for (let at = 0; at < bytes.length && !this.#stopped; ) {
        const room = await this.#room();
        const piece = bytes.subarray(at, at + Math.min(room, limits.writtenChunkBytes));
        if (this.#stopped) return;
        at += piece.length;
        this.#sent += piece.length;
        const header = new Uint8Array(HEADER_BYTES);
        writeHeader(header, 0, STDIN, piece.length);
        await this.#call.write([header, piece]);
      }
      if (this.#stopped) return;
    }
    if (!this.#stopped) await this.#call.write(encodeControl({ type: "eof" }));
  }

  async #room(): Promise<number> {
    while (this.#sent - this.#received >= limits.window && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return limits.window - (this.#sent - this.#received);
  }
}

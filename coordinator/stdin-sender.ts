// Sends a source of bytes as stdin chunks, at most a window beyond what the job's process has taken; then `eof`. What was
// sent and not taken yet is kept, so that the next connection goes on where the runner's count ends.
import type { RawCarriage } from "../protocol/call.ts";
import { encodeControl, HEADER_BYTES, STDIN, writeHeader } from "../protocol/chunk.ts";
import { limits } from "../protocol/limits.ts";

export class StdinSender {
  /** From what was received to the source's end so far. */
  #kept: { readonly offset: number; readonly bytes: Uint8Array }[] = [];
  #end = 0;
  #received = 0;
  #sourceEnded = false;
  #stopped = false;
  /** Counts connections: a loop that writes to an older one ends. */
  #connection = 0;
  /** Until it is first connected: a job that was refused, and is asked for again, has its input from the beginning. */
  #begin: (() => void) | undefined;
  #wakeSource: (() => void) | undefined;
  #wakeWriter: (() => void) | undefined;

  /** Reads from the source, once connected, as fast as it may send. `onFailed`: half an input must never look like a whole one. */
  constructor(source: AsyncIterable<Uint8Array>, onFailed: (error: unknown) => void) {
    this.#begin = () => {
      this.#readAll(source).catch((error: unknown) => {
        if (!this.#stopped) onFailed(error);
      });
    };
  }

  /** Sends from now on over this call, whose runner has everything before `offset`. */
  connect(call: RawCarriage, offset: number): void {
    const connection = ++this.#connection;
    this.#begin?.();
    this.#begin = undefined;
    this.#wakeWriter?.();
    // A call that is lost is followed by another one.
    this.#writeAll(call, offset, () => connection === this.#connection && !this.#stopped).catch(() => {});
  }

  /** The runner's process took, or threw away, everything before this offset. */
  received(offset: number): void {
    this.#received = Math.max(this.#received, offset);
    let gone = 0;
    for (const { offset: begin, bytes } of this.#kept) {
      if (begin + bytes.length > this.#received) break;
      gone++;
    }
    if (gone > 0) this.#kept.splice(0, gone);
    this.#wakeSource?.();
  }

  /** The job is over: what is left of the source is not sent. */
  stop(): void {
    this.#stopped = true;
    this.#wakeSource?.();
    this.#wakeWriter?.();
  }

  async #readAll(source: AsyncIterable<Uint8Array>): Promise<void> {
    for await (const bytes of source) {
      for (let at = 0; at < bytes.length && !this.#stopped; ) {
        const room = await this.#room();
        const piece = bytes.subarray(at, at + Math.min(room, limits.writtenChunkBytes));
        if (this.#stopped) return;
        at += piece.length;
        this.#kept.push({ offset: this.#end, bytes: piece });
        this.#end += piece.length;
        this.#wakeWriter?.();
      }
      if (this.#stopped) return;
    }
    this.#sourceEnded = true;
    this.#wakeWriter?.();
  }

  async #room(): Promise<number> {
    while (this.#end - this.#received >= limits.window && !this.#stopped) {
      await new Promise<void>((resolve) => {
        this.#wakeSource = resolve;
      });
    }
    return limits.window - (this.#end - this.#received);
  }

  async #writeAll(call: RawCarriage, from: number, isCurrent: () => boolean): Promise<void> {
    let at = from;
    while (isCurrent()) {
      const next = this.#kept.find(({ offset, bytes }) => offset + bytes.length > at);
      if (next) {
        const piece = next.bytes.subarray(at - next.offset);
        at += piece.length;
        const header = new Uint8Array(HEADER_BYTES);
        writeHeader(header, 0, STDIN, piece.length);
        await call.write([header, piece]);
      } else if (this.#sourceEnded) {
        return call.write(encodeControl({ type: "eof" }));
      } else {
        await new Promise<void>((resolve) => {
          this.#wakeWriter = resolve;
        });
      }
    }
  }
}

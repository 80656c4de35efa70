// Two ends of a byte channel within one process: an embedded runner is called through it exactly as a remote one.
import type { ByteChannel } from "./channel.ts";
import { SortieError } from "./errors.ts";

/** Bytes under way in one direction before a writer waits. */
const HIGH_WATER = 256 * 1024;

class Direction {
  queue: Uint8Array[] = [];
  queued = 0;
  ended = false;
  wakeReader: (() => void) | undefined;
  wakeWriters: (() => void)[] = [];

  wake(): void {
    this.wakeReader?.();
    for (const wake of this.wakeWriters.splice(0)) wake();
  }
}

/** A connected pair of channels. */
export function memoryChannelPair(): [ByteChannel, ByteChannel] {
  const there = new Direction();
  const back = new Direction();
  const state: { failure?: Error } = {};
  const lost = new AbortController();
  const abort = (reason: Error): void => {
    if (state.failure || (there.ended && back.ended && there.queued + back.queued === 0)) return;
    state.failure = reason;
    lost.abort(reason);
    there.wake();
    back.wake();
  };
  return [end(back, there, state, lost.signal, abort), end(there, back, state, lost.signal, abort)];
}

function end(
  incoming: Direction,
  outgoing: Direction,
  state: { failure?: Error },
  lost: AbortSignal,
  abort: (reason: Error) => void,
): ByteChannel {
  return {
    lost,
    abort,
    async read() {
      for (;;) {
        if (state.failure) throw state.failure;
        const bytes = incoming.queue.shift();
        if (bytes) {
          incoming.queued -= bytes.length;
          if (incoming.queued < HIGH_WATER) for (const wake of incoming.wakeWriters.splice(0)) wake();
          return bytes;
        }
        if (incoming.ended) return undefined;
        await new Promise<void>((resolve) => {
          incoming.wakeReader = resolve;
        });
        incoming.wakeReader = undefined;
      }
    },
    async write(bytes) {
      if (state.failure) throw state.failure;
      if (outgoing.ended) throw new SortieError("CONNECTION_LOST", "The channel was closed for writing.");
      for (const piece of bytes instanceof Uint8Array ? [bytes] : bytes) {
        if (piece.length === 0) continue;
        outgoing.queue.push(piece);
        outgoing.queued += piece.length;
      }
      outgoing.wakeReader?.();
      while (outgoing.queued >= HIGH_WATER && !state.failure) {
        await new Promise<void>((resolve) => outgoing.wakeWriters.push(resolve));
      }
      if (state.failure) throw state.failure;
    },
    async close() {
      outgoing.ended = true;
      outgoing.wakeReader?.();
    },
  };
}

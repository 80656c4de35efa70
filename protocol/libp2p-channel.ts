// A byte channel on a libp2p stream: the only file that touches one. What was measured of libp2p 3.3 and hides here:
// a slow `for await` reader gives the sender no back-pressure; onDrain() resolves at once after its first use, so the
// `drain` event is awaited; a paused stream is reset when 4 MiB wait unread, so nothing is paused. What bounds memory
// is the window of the call above (see limits.ts); a peer that ignores it is a flood.
import type { Stream } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import type { ByteChannel } from "./channel.ts";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";

/** Call it in the same tick in which the stream was given, so that no byte comes before its listener. */
export function channelOf(stream: Stream): ByteChannel {
  const queue: Uint8Array[] = [];
  let queued = 0;
  let ended = false;
  let failure: Error | undefined;
  let writeClosed = false;
  let wakeReader: (() => void) | undefined;
  let wakeWriters: (() => void)[] = [];
  const lost = new AbortController();

  const wake = (): void => {
    wakeReader?.();
    const writers = wakeWriters;
    wakeWriters = [];
    for (const writer of writers) writer();
  };
  const fail = (error: Error): void => {
    if (failure || (ended && writeClosed)) return;
    failure = error;
    lost.abort(error);
    wake();
  };

  stream.addEventListener("message", (event) => {
    const data = event.data;
    for (const bytes of data instanceof Uint8Array ? [data] : data) {
      if (bytes.length === 0) continue;
      queue.push(bytes);
      queued += bytes.length;
    }
    if (queued > limits.channelUnreadBytes) {
      const flooded = new SortieError(
        "CHANNEL_FLOODED",
        `The peer sent ${queued} bytes that nobody had asked for yet.`,
      );
      queue.length = 0;
      fail(flooded);
      stream.abort(flooded);
      return;
    }
    wakeReader?.();
  });
  stream.addEventListener("remoteCloseWrite", () => {
    ended = true;
    wake();
  });
  // The peer may have ended its direction before there was anybody to listen; what it sent is told in a microtask of
  // the listener above, so its end comes one later.
  if (stream.remoteWriteStatus === "closed") {
    queueMicrotask(() => {
      ended = true;
      wake();
    });
  }
  stream.addEventListener("drain", () => {
    const writers = wakeWriters;
    wakeWriters = [];
    for (const writer of writers) writer();
  });
  stream.addEventListener("close", (event) => {
    // Without an error it is the transport that closed in good order; only a stream that both sides ended is whole.
    if (ended && writeClosed) return wake();
    fail(
      new SortieError(
        "CONNECTION_LOST",
        event.error ? `The connection was lost: ${event.error.message}.` : "The connection was closed.",
      ),
    );
  });
  if (stream.status !== "open") fail(new SortieError("CONNECTION_LOST", "The connection was closed."));

  return {
    lost: lost.signal,
    async read() {
      for (;;) {
        const bytes = queue.shift();
        if (bytes) {
          queued -= bytes.length;
          return bytes;
        }
        if (ended) return undefined;
        if (failure) throw failure;
        await new Promise<void>((resolve) => {
          wakeReader = resolve;
        });
        wakeReader = undefined;
      }
    },
    async write(bytes) {
      if (failure) throw failure;
      if (writeClosed) throw new SortieError("CONNECTION_LOST", "The channel was closed for writing.");
      if (bytes.length === 0) return;
      let more: boolean;
      try {
        more = stream.send(bytes instanceof Uint8Array ? bytes : new Uint8ArrayList(...bytes));
      } catch (error) {
        const cause = new SortieError("CONNECTION_LOST", "The stream takes no more bytes.", { cause: error });
        fail(cause);
        throw cause;
      }
      while (!more && !failure) {
        await new Promise<void>((resolve) => wakeWriters.push(resolve));
        more = !stream.writableNeedsDrain;
      }
      if (failure) throw failure;
    },
    async close() {
      if (writeClosed || failure) return;
      writeClosed = true;
      // libp2p waits for unsent bytes itself; a stream that breaks meanwhile has told by its close event.
      await stream.close().catch(() => {});
    },
    abort(reason) {
      if (ended && writeClosed && queue.length === 0) return;
      fail(reason);
      stream.abort(reason);
      queue.length = 0;
    },
  };
}

// A byte channel on a libp2p stream: the only file that touches one. What was measured of libp2p 3.3 and hides here:
// a slow `for await` reader gives the sender no back-pressure; onDrain() resolves at once after its first use, so the
// `drain` event is awaited; a paused stream is reset when 4 MiB wait unread, so nothing is paused. What bounds memory
// is the window of the call above (see limits.ts); a peer that ignores it is a flood.
import type { Stream } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import type { ByteChannel } from "./channel.ts";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import type { PeerLoad } from "./peer-load.ts";

/** Unread pieces that are joined into one where they are small. */
const PIECES = 256;
const SMALL_PIECE = 4 * 1024;

/**
 * Call it in the same tick in which the stream was given, so that no byte comes before its listener. What waits in it,
 * for its reader or for the network, counts for the peer's load.
 */
export function channelOf(stream: Stream, load: PeerLoad): ByteChannel {
  const queue: Uint8Array[] = [];
  let queued = 0;
  /** Pieces at the queue's end that were not looked at for joining yet. */
  let loose = 0;
  /** The peer ended its direction. */
  let ended = false;
  /** The end of this side's direction: asked for, and sent behind everything before it. */
  let closing: Promise<void> | undefined;
  let endSent = false;
  let failure: Error | undefined;
  let wakeReader: (() => void) | undefined;
  let wakeWriters: (() => void)[] = [];
  const lost = new AbortController();
  const held = load.hold((reason) => {
    drop();
    fail(reason);
    stream.abort(reason);
  });

  const wakeAllWriters = (): void => {
    const writers = wakeWriters;
    wakeWriters = [];
    for (const writer of writers) writer();
  };
  const wake = (): void => {
    wakeReader?.();
    wakeAllWriters();
  };
  const whole = (): boolean => ended && endSent;
  const fail = (error: Error): void => {
    if (failure) return;
    failure = error;
    // What came before may still be read, and is little: a window.
    held.end();
    lost.abort(error);
    wake();
  };
  const connectionLost = (cause?: Error): SortieError =>
    new SortieError(
      "CONNECTION_LOST",
      cause ? `The connection was lost: ${cause.message}.` : "The connection was closed.",
    );
  const drop = (): void => {
    queue.length = 0;
    queued = 0;
    // What is left of the input is gone with the rest: reading on must fail, not look like its end.
    ended = false;
  };

  stream.addEventListener("message", (event) => {
    const data = event.data;
    for (const bytes of data instanceof Uint8Array ? [data] : data) {
      if (bytes.length === 0) continue;
      queue.push(bytes);
      queued += bytes.length;
      held.add(bytes.length);
      if (failure) return;
      if (++loose >= PIECES) joinLoose();
    }
    if (queued > limits.channelUnreadBytes) {
      const flooded = new SortieError(
        "CHANNEL_FLOODED",
        `The peer sent ${queued} bytes that nobody had asked for yet.`,
      );
      drop();
      fail(flooded);
      stream.abort(flooded);
      return;
    }
    wakeReader?.();
  });

  /** A piece costs more than its bytes, and holds the whole frame that it came in: a flood of one-byte pieces must not. */
  function joinLoose(): void {
    const pieces = queue.slice(-Math.min(loose, queue.length));
    loose = 0;
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    if (bytes < pieces.length * SMALL_PIECE) queue.splice(-pieces.length, pieces.length, Buffer.concat(pieces, bytes));
  }

  stream.addEventListener("remoteCloseWrite", () => {
    ended = true;
    if (whole()) held.end();
    wake();
  });
  stream.addEventListener("drain", wakeAllWriters);
  stream.addEventListener("close", (event) => {
    // Without an error either both sides ended, or the transport closed in good order, maybe in the middle of this
    // side's last bytes: close() below learns which.
    if (event.error || !(ended && closing)) fail(connectionLost(event.error));
    else wake();
  });
  // Whatever happened before there was anybody to listen is told now; but what the peer had sent until then comes in a
  // microtask of the message listener, and is read first. A broken stream also says that its remote end is closed.
  if (stream.status !== "open") queueMicrotask(() => fail(connectionLost()));
  else if (stream.remoteWriteStatus === "closed") {
    queueMicrotask(() => {
      ended = true;
      wake();
    });
  }

  return {
    lost: lost.signal,
    async read() {
      for (;;) {
        const bytes = queue.shift();
        if (bytes) {
          queued -= bytes.length;
          held.add(-bytes.length);
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
      if (closing) throw new SortieError("CONNECTION_LOST", "The channel was closed for writing.");
      if (bytes.length === 0) return;
      let more: boolean;
      try {
        more = stream.send(bytes instanceof Uint8Array ? bytes : new Uint8ArrayList(...bytes));
      } catch (error) {
        const cause = new SortieError("CONNECTION_LOST", "The stream takes no more bytes.", { cause: error });
        fail(cause);
        throw cause;
      }
      if (!more) {
        const waiting =
          bytes instanceof Uint8Array ? bytes.length : bytes.reduce((sum, piece) => sum + piece.length, 0);
        held.add(waiting);
        while (!more && !failure) {
          await new Promise<void>((resolve) => wakeWriters.push(resolve));
          more = !stream.writableNeedsDrain;
        }
        held.add(-waiting);
      }
      if (failure) throw failure;
    },
    close() {
      if (failure) return Promise.resolve();
      // libp2p waits for unsent bytes itself, and rejects when the stream breaks meanwhile; but where the stream is
      // aborted just then it may wait for ever.
      closing ??= new Promise((resolve) => {
        lost.signal.addEventListener("abort", () => resolve(), { once: true });
        stream
          .close()
          .then(
            () => {
              endSent = !failure;
              if (whole()) held.end();
            },
            () => fail(connectionLost()),
          )
          .then(resolve);
      });
      return closing;
    },
    keeps: (bytes) => held.add(bytes),
    requested: (bytes) => load.charge(bytes),
    abort(reason) {
      if (whole() && queue.length === 0) return;
      drop();
      fail(reason);
      stream.abort(reason);
    },
  };
}

/**
 * Resets the streams that this side has not ended: libp2p would end them in good order when their connection closes,
 * and the peer would take half an input for a whole one. What is being closed already is left to flush.
 */
export function resetUnfinished(streams: readonly Stream[], reason: Error): void {
  for (const stream of [...streams]) if (stream.writeStatus === "writable") stream.abort(reason);
}

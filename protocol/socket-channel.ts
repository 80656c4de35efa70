// A byte channel on a socket of this machine. Nothing tells an abort from a close there, so what runs on it must know
// its own end: an envelope that completes a call, an exit that ends a journal.
import type { Socket } from "node:net";
import type { ByteChannel } from "./channel.ts";
import { drained } from "./drained.ts";
import { SortieError } from "./errors.ts";

/**
 * What such a socket should be made with: two processes that hand each other a pipe's bytes otherwise wait for each
 * other after every piece.
 */
export const socketOptions = { highWaterMark: 1024 * 1024 } as const;

/** Unread bytes at which the socket is not read any more: the kernel's own buffer then makes the other side wait. */
const MOST_UNREAD = 1024 * 1024;

/** Call it in the same tick in which the socket was given. */
export function socketChannel(socket: Socket): ByteChannel {
  let failure: Error | undefined;
  let ended = false;
  let wakeReader: (() => void) | undefined;
  const queue: Uint8Array[] = [];
  let unread = 0;
  const lost = new AbortController();

  const fail = (error: Error): void => {
    if (failure) return;
    failure = error;
    lost.abort(error);
    wakeReader?.();
  };
  // Each side ends its own direction.
  socket.allowHalfOpen = true;
  socket.on("data", (bytes: Buffer) => {
    queue.push(bytes);
    unread += bytes.length;
    if (unread >= MOST_UNREAD) socket.pause();
    wakeReader?.();
  });
  socket.on("end", () => {
    ended = true;
    wakeReader?.();
  });
  socket.on("error", (error) => fail(new SortieError("CONNECTION_LOST", `The socket broke: ${error.message}.`)));
  socket.on("close", () => {
    if (!ended || !socket.writableFinished) fail(new SortieError("CONNECTION_LOST", "The socket was closed."));
  });

  return {
    lost: lost.signal,
    async read() {
      for (;;) {
        const bytes = queue.shift();
        if (bytes) {
          unread -= bytes.length;
          if (unread < MOST_UNREAD / 2 && socket.isPaused()) socket.resume();
          return bytes;
        }
        if (failure) throw failure;
        if (ended) return undefined;
        if (socket.isPaused()) socket.resume();
        await new Promise<void>((resolve) => {
          wakeReader = resolve;
        });
        wakeReader = undefined;
      }
    },
    async write(bytes) {
      if (failure) throw failure;
      if (socket.writableEnded) throw new SortieError("CONNECTION_LOST", "The channel was closed for writing.");
      const pieces = bytes instanceof Uint8Array ? [bytes] : bytes;
      let more = true;
      socket.cork();
      for (const piece of pieces) if (piece.length > 0) more = socket.write(piece);
      socket.uncork();
      if (more || failure) return;
      await drained(socket);
      if (failure) throw failure;
    },
    async close() {
      if (failure || socket.writableEnded) return;
      await new Promise<void>((resolve) => {
        socket.once("close", resolve);
        socket.end(resolve);
      });
      // The other side may stay silent for ever; nothing more is asked of it.
      if (ended) socket.destroy();
      // Where it has ended as well, the socket learns that, and goes, only while it reads.
      else if (queue.length === 0) socket.resume();
    },
    abort(reason) {
      fail(reason);
      queue.length = 0;
      socket.destroy();
    },
  };
}

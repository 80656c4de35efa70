// The byte channel that calls run on: two directions of bytes, pulled by the reader. A call does not know whether
// it runs on a libp2p stream (libp2p-channel.ts), in memory (memory-channel.ts) or on a Unix socket.

/** One bidirectional stream of bytes. Each side closes its own direction; an abort ends both at once, on both sides. */
export interface ByteChannel {
  /**
   * The next bytes as they came, never empty; `undefined` once the peer closed its direction and all was read.
   * Rejects with a SortieError when the channel was aborted or its connection lost. One read at a time.
   */
  read(): Promise<Uint8Array | undefined>;
  /**
   * Queues the bytes, or several pieces as one, and resolves when more may be written; the caller must not change
   * them afterwards.
   * Rejects when the channel is closed, aborted or lost.
   */
  write(bytes: Uint8Array | readonly Uint8Array[]): Promise<void>;
  /** No more bytes from this side; what was written still arrives. Idempotent. */
  close(): Promise<void>;
  /** Ends both directions now; unread and unsent bytes are gone. The peer sees a lost channel. Idempotent. */
  abort(reason: Error): void;
  /** What its reader keeps of it, more or fewer bytes, until it can use it: that counts as unread. Of a peer's channels only. */
  keeps?(bytes: number): void;
  /** The call's request was so long. Of a peer's channels only: long requests use up what it may ask for. */
  requested?(bytes: number): void;
  /** Aborted once the channel is of no more use: aborted by either side, or its connection lost. Never after a clean end. */
  readonly lost: AbortSignal;
}

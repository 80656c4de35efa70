// A caller's stdin on its way to a process that may not read it: taken at once, so that what else the caller says is
// heard meanwhile. session.ts bounds its bytes by the window; this bounds what they cost.

/** Writes under way at once; what comes meanwhile waits here. */
const MOST_WRITES = 32;
/** Smaller pieces that wait are copied together: as a write each, a window of single bytes would cost gigabytes. */
const OWN_PIECE_BYTES = 16 * 1024;
const BLOCK_BYTES = 64 * 1024;

export interface StdinQueue {
  /** The piece must not be changed afterwards. */
  push(piece: Uint8Array): void;
  /** Nothing comes after this. */
  end(): void;
}

/**
 * `write` takes the bytes in the order of the calls, and resolves when they were taken; `onWritten` is then told how
 * many. `end` is called behind the last write. A write that rejects ends the queue: the job was forgotten.
 */
export function stdinQueue(to: {
  readonly write: (bytes: Uint8Array) => Promise<void>;
  readonly onWritten: (length: number) => void;
  readonly end: () => void;
}): StdinQueue {
  const waiting: Uint8Array[] = [];
  /** Small pieces, of which `used` bytes are taken; they come behind what is in `waiting`. */
  let block = new Uint8Array(0);
  let used = 0;
  let writes = 0;
  let ended = false;
  /** Nothing more is written: all was, or the job is gone. */
  let over = false;

  function closeBlock(): void {
    if (used > 0) waiting.push(block.subarray(0, used));
    block = new Uint8Array(0);
    used = 0;
  }

  function keep(piece: Uint8Array): void {
    if (piece.length >= OWN_PIECE_BYTES) {
      closeBlock();
      waiting.push(piece);
      return;
    }
    if (block.length - used < piece.length) {
      closeBlock();
      block = new Uint8Array(BLOCK_BYTES);
    }
    block.set(piece, used);
    used += piece.length;
  }

  async function write(bytes: Uint8Array): Promise<void> {
    writes++;
    try {
      await to.write(bytes);
      to.onWritten(bytes.length);
    } catch {
      over = true;
    }
    writes--;
    writeMore();
  }

  function writeMore(): void {
    while (!over && writes < MOST_WRITES) {
      if (waiting.length === 0) closeBlock();
      const next = waiting.shift();
      if (!next) {
        if (ended) finish();
        return;
      }
      void write(next);
    }
  }

  function finish(): void {
    over = true;
    try {
      to.end();
    } catch {
      // The job was forgotten meanwhile.
    }
  }

  return {
    push(piece) {
      if (over || ended) return;
      if (writes < MOST_WRITES && waiting.length === 0 && used === 0) void write(piece);
      else keep(piece);
    },
    end() {
      ended = true;
      writeMore();
    },
  };
}

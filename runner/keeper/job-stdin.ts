// A job's stdin as it comes from one owner's session after another: counted as it is taken, so that the next session
// goes on behind it; bounded by the window, whatever the process does with it, and by what all of an owner's may hold.
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { StepsJob } from "./job.ts";
import { stdinQueue } from "./stdin-queue.ts";

export interface JobStdin {
  /** Bytes taken from sessions so far. */
  readonly taken: number;
  /**
   * Throws PROTOCOL after the end, CHANNEL_FLOODED for more than a window that the process has not read, and TOO_MANY
   * where too much of it waits in all: nothing is taken then, and a later session may send it again.
   */
  take(bytes: Uint8Array): void;
  /** Nothing comes after this. Told again by a later session, it says nothing new. */
  end(): void;
  /** The job is over: what waits is for nobody. */
  release(): void;
}

/** Bytes of stdin that wait at a keeper for processes that do not read them: of each owner's jobs, and of all. */
export class StdinBudget {
  readonly #ofOwner: number;
  readonly #ofAll: number;
  readonly #waiting = new Map<string, number>();
  #all = 0;

  constructor(ofOwner: number = limits.stdinPerPeerBytes, ofAll: number = limits.stdinBytes) {
    this.#ofOwner = ofOwner;
    this.#ofAll = ofAll;
  }

  /** Throws TOO_MANY where there is no room for them. */
  take(owner: string, bytes: number): void {
    const waiting = (this.#waiting.get(owner) ?? 0) + bytes;
    if (waiting > this.#ofOwner || this.#all + bytes > this.#ofAll)
      throw new SortieError("TOO_MANY", "Too much stdin waits here for processes that do not read it.");
    this.#waiting.set(owner, waiting);
    this.#all += bytes;
  }

  give(owner: string, bytes: number): void {
    const left = (this.#waiting.get(owner) ?? 0) - bytes;
    if (left > 0) this.#waiting.set(owner, left);
    else this.#waiting.delete(owner);
    this.#all -= bytes;
  }
}

export function jobStdin(job: Pick<StepsJob, "writeStdin" | "endStdin">, owner: string, budget: StdinBudget): JobStdin {
  let taken = 0;
  let waiting = 0;
  let ended = false;
  let released = false;
  const queue = stdinQueue({
    write: (bytes) => job.writeStdin(bytes),
    onWritten(length) {
      if (released) return;
      waiting -= length;
      budget.give(owner, length);
    },
    end: () => job.endStdin(),
  });
  return {
    get taken() {
      return taken;
    },
    take(bytes) {
      if (ended) throw new SortieError("PROTOCOL", "The caller sent stdin after its end.");
      // The caller counts what it was told; up to a step of `received` more may be taken and not told yet.
      if (waiting + bytes.length > limits.window)
        throw new SortieError("CHANNEL_FLOODED", "The caller sent more stdin than the window allows.");
      if (!released) budget.take(owner, bytes.length);
      taken += bytes.length;
      waiting += bytes.length;
      queue.push(bytes);
    },
    end() {
      if (ended) return;
      ended = true;
      queue.end();
    },
    release() {
      if (released) return;
      released = true;
      budget.give(owner, waiting);
    },
  };
}

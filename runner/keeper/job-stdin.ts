// A job's stdin as it comes from one owner's session after another: counted as it is taken, so that the next session
// goes on behind it; bounded by the window, whatever the process does with it.
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { StepsJob } from "./job.ts";
import { stdinQueue } from "./stdin-queue.ts";

export interface JobStdin {
  /** Bytes taken from sessions so far. */
  readonly taken: number;
  /** Throws PROTOCOL after the end, and CHANNEL_FLOODED for more than a window that the process has not read. */
  take(bytes: Uint8Array): void;
  /** Nothing comes after this. Told again by a later session, it says nothing new. */
  end(): void;
}

export function jobStdin(job: StepsJob): JobStdin {
  let taken = 0;
  let waiting = 0;
  let ended = false;
  const queue = stdinQueue({
    write: (bytes) => job.writeStdin(bytes),
    onWritten(length) {
      waiting -= length;
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
      taken += bytes.length;
      waiting += bytes.length;
      queue.push(bytes);
    },
    end() {
      if (ended) return;
      ended = true;
      queue.end();
    },
  };
}

// Ends what jobs left on engines and hosts that did not answer when they were cleaned up, or whose keeper died: at once,
// and again until nothing is left. What a keeper that died left on this machine, recover.ts has ended.

import { join } from "node:path";
import { messageOf } from "../../protocol/errors.ts";
import type { AttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { within } from "../../protocol/within.ts";
import type { Backends } from "./backends/index.ts";
import { findMarks, removeMark } from "./marks.ts";
import { removeWorkFolder } from "./work.ts";

export interface Reaper {
  /** A job of this keeper that could not be cleaned up. */
  add(attempt: AttemptId): void;
  /** Soon; what is left then is the next keeper's. */
  close(): Promise<void>;
}

/** Looks after what has a mark now, and what is added. */
export function reaper(
  work: string,
  backend: Backends,
  log: (line: string) => void,
  everyMs: number = limits.reapEveryMs,
): Reaper {
  const left = new Set(findMarks(work).keys());
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function reapOne(attempt: AttemptId, mark: string | undefined): Promise<void> {
    try {
      if (mark !== undefined) await backend.reap(attempt, mark);
      left.delete(attempt);
      removeMark(work, attempt);
      await removeWorkFolder(join(work, attempt));
    } catch (error) {
      log(`what ${attempt} left cannot be ${left.has(attempt) ? "ended yet" : "removed"}: ${messageOf(error)}`);
    }
  }

  async function reap(): Promise<void> {
    const marks = findMarks(work);
    await Promise.all([...left].map((attempt) => reapOne(attempt, marks.get(attempt))));
    if (left.size > 0) later();
  }
  function later(): void {
    if (closed) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      trying = reap();
    }, everyMs).unref();
  }
  let trying = reap();

  return {
    add(attempt) {
      left.add(attempt);
      later();
    },
    async close() {
      closed = true;
      clearTimeout(timer);
      await within(trying, limits.reapCloseMs);
    },
  };
}

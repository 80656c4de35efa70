// Ends what a keeper that died left on engines and hosts: at once, and again while one of them does not answer. What
// it left on this machine, recover.ts has ended.
import { join } from "node:path";
import { limits } from "../../protocol/limits.ts";
import type { Backends } from "./backends/index.ts";
import { findMarks, removeMark } from "./marks.ts";
import { removeWorkFolder } from "./work.ts";

export interface Reaper {
  /** After the try that is under way. What is left is the next keeper's. */
  close(): Promise<void>;
}

/** Looks after the marks that are there now, and not after those of jobs to come. */
export function reaper(work: string, backend: Backends, log: (line: string) => void): Reaper {
  const marks = findMarks(work);
  let timer: NodeJS.Timeout | undefined;
  let closed = false;

  async function reap(): Promise<void> {
    await Promise.all(
      [...marks].map(async ([attempt, mark]) => {
        try {
          await backend.reap(attempt, mark);
          await removeWorkFolder(join(work, attempt));
          removeMark(work, attempt);
          marks.delete(attempt);
        } catch (error) {
          log(`what ${attempt} left cannot be ended yet: ${error instanceof Error ? error.message : String(error)}`);
        }
      }),
    );
    if (marks.size > 0 && !closed) timer = setTimeout(next, limits.reapEveryMs).unref();
  }
  const next = (): void => {
    trying = reap();
  };
  let trying = reap();

  return {
    async close() {
      closed = true;
      clearTimeout(timer);
      await trying;
    },
  };
}

// Changed files, gathered until there is a moment's quiet, so that a checkout is one change. watch.ts fills and takes them.
import { setTimeout as delay } from "node:timers/promises";
import type { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";

/** What came together. */
export interface Change {
  /** Jobs that it concerns; `all` where it is the recipe that changed. */
  readonly jobs: ReadonlySet<JobName> | "all";
  /** A few of the files, and how many there were; of those that are not named here one may be counted twice. */
  readonly files: readonly string[];
  readonly count: number;
}

export interface Changes {
  /** Nothing, where it concerns no job. */
  add(file: string, jobs: readonly JobName[] | "all"): void;
  /** The changes since the last time, once there are some and it is quiet. */
  next(): Promise<Change>;
}

export function gatherChanges(): Changes {
  let jobs: Set<JobName> | "all" = new Set();
  let files = new Set<string>();
  let count = 0;
  let firstAt = 0;
  let lastAt = 0;
  let some = Promise.withResolvers<void>();

  return {
    add(file, concerned) {
      if (concerned.length === 0) return;
      if (concerned === "all") jobs = "all";
      else if (jobs !== "all") for (const job of concerned) jobs.add(job);
      lastAt = performance.now();
      if (count === 0) firstAt = lastAt;
      // A new file may be told of twice: when it is made, and when it is written.
      if (!files.has(file)) count++;
      if (files.size < limits.namedChanges) files.add(file);
      some.resolve();
    },
    async next() {
      await some.promise;
      for (;;) {
        const now = performance.now();
        const left = Math.min(lastAt + limits.watchQuietMs, firstAt + limits.watchMostMs) - now;
        if (left <= 0) break;
        await delay(left);
      }
      const change: Change = { jobs, files: [...files], count };
      jobs = new Set();
      files = new Set();
      count = 0;
      some = Promise.withResolvers();
      return change;
    },
  };
}

// Which jobs have a place in their group (a recipe's `concurrency`), among all runs of this coordinator, in whatever
// processes. A line of rows: the oldest that finds room has it. Rows of a process that is gone are nobody's.
import type { JobName, RunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import type { Group } from "../group.ts";
import type { Database } from "./database.ts";
import { processStarted } from "./process-started.ts";

export interface Claims {
  /** The job stands in the line of its group from now on; `has`: it has a place there already, room or not. */
  ask(run: RunId, job: JobName, group: Group, has?: boolean): void;
  /** Gives the job a place where it is its turn, and there is room. */
  take(run: RunId, job: JobName, group: Group): boolean;
  /** A job that has a place which this one waits for, as RUN/JOB. */
  before(run: RunId, job: JobName, group: Group): string | undefined;
  /** Jobs of the run that a newer one of their group wants cancelled, and which one, as RUN/JOB. */
  cancelled(run: RunId): readonly { readonly job: JobName; readonly group: string; readonly by: string }[];
  giveUp(run: RunId, job: JobName): void;
}

export function claimsOf({ all, write, flush }: Database): Claims {
  const swept = new Map<string, number>();

  /** A process that was killed says nothing. */
  function sweep(group: string): void {
    if (performance.now() - (swept.get(group) ?? Number.NEGATIVE_INFINITY) < limits.groupLookMs) return;
    swept.set(group, performance.now());
    const owners = all<{ pid: number; pid_started: string }>(
      "SELECT DISTINCT pid, pid_started FROM claims WHERE name = ?",
      group,
    );
    for (const { pid, pid_started } of owners)
      if (processStarted(pid) !== pid_started)
        write(["DELETE FROM claims WHERE name = ? AND pid = ? AND pid_started = ?", group, pid, pid_started]);
  }

  return {
    ask(run, job, { name, limit, cancelsOlder }, has = false) {
      sweep(name);
      write([
        `INSERT INTO claims (name, run, job, pid, pid_started, has) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (run, job) DO UPDATE SET pid = ?4, pid_started = ?5, has = max(has, ?6)`,
        name,
        run,
        job,
        process.pid,
        processStarted(process.pid),
        has ? 1 : 0,
      ]);
      if (cancelsOlder)
        write([
          `UPDATE claims SET cancelled_by = ?1 || '/' || ?2 WHERE name = ?3 AND run <> ?1 AND cancelled_by IS NULL
             AND id < (SELECT id FROM claims WHERE run = ?1 AND job = ?2)
             AND (has = 0 OR id IN (
               SELECT id FROM claims WHERE name = ?3 AND has = 1 AND cancelled_by IS NULL AND run <> ?1 ORDER BY id
               LIMIT max(0, (SELECT count(*) FROM claims WHERE name = ?3 AND has = 1 AND cancelled_by IS NULL) - ?4 + 1)))`,
          run,
          job,
          name,
          limit,
        ]);
      flush();
    },
    take(run, job, { name, limit }) {
      sweep(name);
      // One statement, so that no two processes see the same room.
      write([
        `UPDATE claims SET has = 1 WHERE run = ?1 AND job = ?2 AND cancelled_by IS NULL
           AND (SELECT count(*) FROM claims WHERE name = ?3 AND has = 1) < ?4
           AND NOT EXISTS (
             SELECT 1 FROM claims AS other
             WHERE other.name = ?3 AND other.has = 0 AND other.cancelled_by IS NULL AND other.id < claims.id)`,
        run,
        job,
        name,
        limit,
      ]);
      return all("SELECT 1 FROM claims WHERE run = ? AND job = ? AND has = 1", run, job).length > 0;
    },
    before(run, job, { name }) {
      for (const has of [1, 0]) {
        const [first] = all<{ run: string; job: string }>(
          "SELECT run, job FROM claims WHERE name = ? AND has = ? AND NOT (run = ? AND job = ?) ORDER BY id LIMIT 1",
          name,
          has,
          run,
          job,
        );
        if (first) return `${first.run}/${first.job}`;
      }
      return undefined;
    },
    cancelled: (run) =>
      all<{ job: JobName; group: string; by: string }>(
        "SELECT job, name AS 'group', cancelled_by AS 'by' FROM claims WHERE run = ? AND cancelled_by IS NOT NULL",
        run,
      ),
    giveUp(run, job) {
      write(["DELETE FROM claims WHERE run = ? AND job = ?", run, job]);
      flush();
    },
  };
}

// A job as its keeper knows it: the process while it runs, the journal for as long as it is kept, and who is connected.
// One session controls it, the owner's; while there is none, the lease runs.
import { SortieError } from "../../protocol/errors.ts";
import type { DrivenJob } from "./driven-job.ts";
import type { Job } from "./job.ts";
import type { JobStdin } from "./job-stdin.ts";
import type { Journal } from "./journal.ts";
import { type ReaderPace, readerPace } from "./reader-pace.ts";
import type { JobRecord } from "./record.ts";

/** A connected reader; the one with control is the job's owner. */
export interface Session {
  readonly control: boolean;
  /** Aborted where it must end: another one took control, or the keeper closes. */
  readonly ends: AbortSignal;
  /** Call it once it is over. */
  end(): void;
}

export interface KeptJob {
  readonly record: JobRecord;
  readonly journal: Journal;
  /** Absent for a job of an earlier keeper, and once it is over and cleaned up. */
  readonly job: Job | undefined;
  /** The same, where it is a driven one. */
  readonly driven: DrivenJob | undefined;
  readonly stdin: JobStdin | undefined;
  readonly running: boolean;
  acknowledged: boolean;
  /**
   * Where an exit stands that a keeper wrote for one that died. That one may have sent other bytes from here on, out of
   * its memory, while its disk was full: whoever is past this has what the journal does not.
   */
  readonly lostAt: number | undefined;
  /** Milliseconds since the epoch; for a running job, when it started. */
  readonly endedAt: number;
  readonly control: Session | undefined;
  /** Sessions without control. */
  readonly readers: number;
  readonly pace: ReaderPace;
  /**
   * Begins a session; with control, for a holder, it ends the one before it. Throws SUPERSEDED for a holder that
   * another one has followed.
   */
  begin(holder: string | undefined): Session;
  /** The exit is in the journal. */
  ended(): void;
  /** It is cleaned up: nothing of it is held any more but its journal. */
  release(): void;
  /** Ends every session. */
  close(reason: Error): void;
}

/** Holders remembered, the oldest forgotten first. */
const FOLLOWED = 100;
const superseded = (): SortieError => new SortieError("SUPERSEDED", "Another coordinator process took the job over.");

export function keptJob(
  record: JobRecord,
  journal: Journal,
  rest:
    | { readonly job: Job; readonly driven?: DrivenJob; readonly stdin?: JobStdin }
    | { readonly acknowledged: boolean; readonly endedAt: number; readonly lostAt: number | undefined },
): KeptJob {
  let { job, driven, stdin }: Partial<Pick<KeptJob, "job" | "driven" | "stdin">> = "job" in rest ? rest : {};
  const sessions = new Map<Session, AbortController>();
  let control: Session | undefined;
  let holder: string | undefined;
  const followed = new Set<string>();
  let endedAt = "endedAt" in rest ? rest.endedAt : record.startedAt;
  let lease: NodeJS.Timeout | undefined;
  const pace = readerPace(() => journal.end);
  if (!job) pace.end();

  function leave(): void {
    control = undefined;
    journal.setOwned(false);
    if (record.leaseMs !== null && job?.running)
      lease = setTimeout(() => job?.cancel({ reason: "lease" }), record.leaseMs);
  }

  return {
    record,
    journal,
    get job() {
      return job;
    },
    get driven() {
      return driven;
    },
    get stdin() {
      return stdin;
    },
    pace,
    get running() {
      return job?.running ?? false;
    },
    acknowledged: "acknowledged" in rest && rest.acknowledged,
    lostAt: "lostAt" in rest ? rest.lostAt : undefined,
    get endedAt() {
      return endedAt;
    },
    get control() {
      return control;
    },
    get readers() {
      return sessions.size - (control ? 1 : 0);
    },
    begin(next) {
      const withControl = next !== undefined;
      if (withControl && followed.has(next)) throw superseded();
      const ends = new AbortController();
      const session: Session = {
        control: withControl,
        ends: ends.signal,
        end() {
          sessions.delete(session);
          if (control === session) leave();
        },
      };
      if (withControl) {
        if (control) sessions.get(control)?.abort(superseded());
        clearTimeout(lease);
        if (holder !== undefined && holder !== next) {
          followed.add(holder);
          if (followed.size > FOLLOWED) followed.delete(followed.values().next().value as string);
        }
        holder = next;
        control = session;
        journal.setOwned(true);
      }
      sessions.set(session, ends);
      return session;
    },
    ended() {
      endedAt = Date.now();
      pace.end();
      clearTimeout(lease);
    },
    release() {
      job = undefined;
      driven = undefined;
      // How much of it was taken is still asked.
      stdin?.release();
      stdin = stdin && { taken: stdin.taken, take() {}, end() {}, release() {} };
    },
    close(reason) {
      clearTimeout(lease);
      for (const ends of sessions.values()) ends.abort(reason);
    },
  };
}

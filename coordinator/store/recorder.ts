// Writes a run down as it goes: its events become rows. Outputs are not among them, those are the logs'.
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import type { EventReader, RunEvent } from "../events.ts";
import type { Database, Write } from "./database.ts";
import { processStarted } from "./process-started.ts";
import type { AttemptRow } from "./rows.ts";

type HowItEnded = Pick<RunEvent & { type: "job-ended" }, "job" | "at" | "exit" | "message" | "gap">;

/** A reader of one run's events; `begun` are attempts of a run that is resumed. Its calls throw STORE_FAILED once something could not be written. */
export function recorder({ write, written, flush }: Database, begun: Iterable<[JobName, AttemptId]> = []): EventReader {
  let run: RunId;
  const attempts = new Map<JobName, AttemptId>(begun);

  /** Jobs that have other places, which end with the attempt. */
  const placed = new Set<JobName>();
  const leavePlaces = (job: JobName): Write[] =>
    placed.delete(job) ? [["DELETE FROM places WHERE run = ? AND job = ?", run, job]] : [];

  /** The attempt under way, if there is one: a job may end without, and may begin another after one was lost. */
  const endAttempt = (
    { job, at, exit, message, gap }: HowItEnded,
    outcome: NonNullable<AttemptRow["outcome"]>,
  ): Write[] => {
    const attempt = attempts.get(job);
    attempts.delete(job);
    if (attempt === undefined) return [];
    return [
      ...leavePlaces(job),
      [
        "UPDATE attempts SET ended_at = ?, exit = ?, outcome = ?, message = ?, gap = ? WHERE id = ?",
        at,
        exit ? JSON.stringify(exit) : null,
        outcome,
        message ?? null,
        gap ?? null,
        attempt,
      ],
    ];
  };

  return {
    on(event: RunEvent) {
      switch (event.type) {
        case "run-started":
          run = event.run;
          write(
            [
              "INSERT INTO runs (id, recipe, started_at, pid, pid_started, fingerprint, params, selection, asked_on, after, sandbox) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
              run,
              event.recipe,
              event.at,
              process.pid,
              processStarted(process.pid),
              event.fingerprint ?? null,
              event.params ? JSON.stringify(event.params) : null,
              event.selection ? JSON.stringify(event.selection) : null,
              event.on ? JSON.stringify(event.on) : null,
              event.after ?? null,
              event.sandbox ? JSON.stringify(event.sandbox) : null,
            ],
            ...event.jobs.map(
              (job, position): Write => [
                "INSERT INTO jobs (run, name, position, needs, fingerprint, kept, outcome) VALUES (?, ?, ?, ?, ?, ?, ?)",
                run,
                job.name,
                position,
                JSON.stringify(job.needs),
                job.fingerprint ?? null,
                job.kept ?? null,
                // With the run itself: whoever resumes it must not run it after all.
                job.kept ? "passed" : null,
              ],
            ),
          );
          // Others look for the run at once, and a full disk is told before anything was started.
          return flush();
        case "run-resumed":
          run = event.run;
          return;
        case "jobs-joined":
          // A job that is run once more gives them once more.
          write(
            ...event.jobs.map(
              (job): Write => [
                // What came of another job of that name is not this one's.
                `INSERT INTO jobs (run, name, position, needs, given_by, fingerprint)
                 VALUES (?1, ?2, (SELECT count(*) FROM jobs WHERE run = ?1), ?3, ?4, ?5)
                 ON CONFLICT (run, name) DO UPDATE SET needs = ?3, fingerprint = ?5,
                   outcome = iif(ifnull(fingerprint, ?5) IS ?5, outcome, NULL),
                   message = iif(ifnull(fingerprint, ?5) IS ?5, message, NULL),
                   allowed = iif(ifnull(fingerprint, ?5) IS ?5, allowed, NULL),
                   output = iif(ifnull(fingerprint, ?5) IS ?5, output, NULL)`,
                run,
                job.name,
                JSON.stringify(job.needs),
                event.by,
                job.fingerprint ?? null,
              ],
            ),
          );
          return flush();
        case "job-dispatched":
          write(...endAttempt({ job: event.job, at: event.at, message: "lost: the job was tried again" }, "lost"), [
            "INSERT INTO attempts (id, run, job, attempt, runner, runner_id, started_at, driven) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            event.attemptId,
            run,
            event.job,
            event.attempt,
            event.runner,
            event.runnerId,
            event.at,
            event.driven ? 1 : null,
          ]);
          attempts.set(event.job, event.attemptId);
          return written();
        case "place-dispatched":
          placed.add(event.job);
          write([
            "INSERT INTO places (id, run, job, runner, runner_id, started_at) VALUES (?, ?, ?, ?, ?, ?)",
            event.attemptId,
            run,
            event.job,
            event.runner,
            event.runnerId,
            event.at,
          ]);
          return written();
        case "job-returned":
          attempts.delete(event.job);
          return write(["DELETE FROM attempts WHERE id = ?", event.attemptId], ...leavePlaces(event.job));
        case "job-started":
          attempts.set(event.job, event.attemptId);
          return write(["UPDATE attempts SET started_at = ? WHERE id = ?", event.at, event.attemptId]);
        case "job-retrying":
          return write(...endAttempt(event, event.interrupted ? "interrupted" : event.outcome));
        case "job-ended":
          return write(...endAttempt(event, event.outcome), [
            "UPDATE jobs SET outcome = ?, message = ?, allowed = ?, output = ? WHERE run = ? AND name = ?",
            event.outcome,
            event.message ?? null,
            event.allowed ? 1 : null,
            event.output === undefined ? null : JSON.stringify(event.output),
            run,
            event.job,
          ]);
        case "run-ended":
          write([
            "UPDATE runs SET ended_at = ?, outcome = ?, message = ? WHERE id = ?",
            event.at,
            event.outcome,
            event.message ?? null,
            run,
          ]);
          return flush();
      }
    },
    close: flush,
  };
}

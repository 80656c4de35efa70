// Runs, jobs and attempts: written from the events of a run, and found again by what a person types.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { Exit } from "../../protocol/exit.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import type { EventReader, JobOutcome, RunEvent, RunOutcome } from "../events.ts";
import { openDatabase, type Write } from "./database.ts";

export interface RunRow {
  readonly id: RunId;
  readonly recipe: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
  /** `running` while its coordinator lives; `interrupted` when that is gone without an end. */
  readonly state: RunOutcome | "running" | "interrupted";
  readonly message: string | null;
}

export interface JobRow {
  readonly run: RunId;
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly outcome: JobOutcome | null;
  readonly message: string | null;
  readonly attempts: readonly AttemptRow[];
}

export interface AttemptRow {
  readonly id: AttemptId;
  readonly run: RunId;
  readonly job: JobName;
  readonly attempt: number;
  readonly runner: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly exit: Exit | undefined;
  readonly message: string | null;
}

export interface Store {
  /** Records the events of a run, but for outputs: those are the logs'. */
  reader(): EventReader;
  runs(most: number): RunRow[];
  /** By an unambiguous prefix of its id, or `last`. */
  findRun(text: string): RunRow;
  jobs(run: RunId): JobRow[];
  /** The last attempt of a job: by a prefix of the attempt's id, by RUN/JOB, or by the job's name in the latest run. */
  findAttempt(text: string): AttemptRow;
  /** Whether the coordinator of the run still lives. */
  isLive(run: RunId): boolean;
  logPath(attempt: { readonly run: RunId; readonly id: AttemptId }): string;
  close(): void;
}

interface RawRun {
  id: string;
  recipe: string;
  started_at: number;
  ended_at: number | null;
  outcome: string | null;
  message: string | null;
  pid: number;
  pid_started: string;
}
interface RawAttempt {
  id: string;
  run: string;
  job: string;
  attempt: number;
  runner: string;
  started_at: number;
  ended_at: number | null;
  exit: string | null;
  message: string | null;
}

export const logPath = (folder: string, run: RunId, attempt: AttemptId): string =>
  join(folder, "logs", run, `${attempt}.chunks`);

export function openStore(folder: string): Store {
  const database = openDatabase(folder);
  const runOf = (row: RawRun): RunRow => ({
    id: row.id as RunId,
    recipe: row.recipe,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    state:
      (row.outcome as RunOutcome | null) ?? (processStarted(row.pid) === row.pid_started ? "running" : "interrupted"),
    message: row.message,
  });
  const attemptOf = (row: RawAttempt): AttemptRow => ({
    id: row.id as AttemptId,
    run: row.run as RunId,
    job: row.job as JobName,
    attempt: row.attempt,
    runner: row.runner,
    startedAt: row.started_at,
    endedAt: row.ended_at,
    exit: row.exit === null ? undefined : v.parse(Exit, JSON.parse(row.exit)),
    message: row.message,
  });

  const runs = (most: number): RunRow[] =>
    database.all<RawRun>("SELECT * FROM runs ORDER BY started_at DESC LIMIT ?", most).map(runOf);

  function findRun(text: string): RunRow {
    if (text === "last") {
      const [last] = runs(1);
      if (last) return last;
      throw new SortieError("NOT_FOUND", "There is no run yet.");
    }
    // A range rather than LIKE: what was typed may hold a wildcard.
    const found = database.all<RawRun>(
      "SELECT * FROM runs WHERE id >= ? AND id < ? LIMIT 6",
      text,
      `${text}\u{10ffff}`,
    );
    return runOf(only(found, text, "run", (row) => row.id));
  }

  function attemptsOf(run: RunId, job?: string): AttemptRow[] {
    const rows =
      job === undefined
        ? database.all<RawAttempt>("SELECT * FROM attempts WHERE run = ? ORDER BY job, attempt", run)
        : database.all<RawAttempt>("SELECT * FROM attempts WHERE run = ? AND job = ? ORDER BY attempt", run, job);
    return rows.map(attemptOf);
  }

  function lastAttempt(run: RunId, job: string): AttemptRow {
    const last = attemptsOf(run, job).at(-1);
    if (last) return last;
    const there = database
      .all<{ name: string }>("SELECT name FROM jobs WHERE run = ? ORDER BY position LIMIT 20", run)
      .map(({ name }) => name);
    if (there.includes(job))
      throw new SortieError("NOT_FOUND", `The job ${job} of run ${run} has not started, so it has no log.`);
    throw new SortieError("NOT_FOUND", `The run ${run} has no job ${JSON.stringify(job)}; it has ${there.join(", ")}.`);
  }

  return {
    reader: () => recorder(database.write, database.flush),
    runs,
    findRun,
    jobs(run) {
      const attempts = Map.groupBy(attemptsOf(run), (attempt) => attempt.job);
      return database
        .all<{ name: JobName; needs: string; outcome: JobOutcome | null; message: string | null }>(
          "SELECT * FROM jobs WHERE run = ? ORDER BY position",
          run,
        )
        .map(({ name, needs, outcome, message }) => ({
          run,
          name,
          needs: JSON.parse(needs),
          outcome,
          message,
          attempts: attempts.get(name) ?? [],
        }));
    },
    findAttempt(text) {
      const slash = text.indexOf("/");
      if (slash >= 0) return lastAttempt(findRun(text.slice(0, slash)).id, text.slice(slash + 1));
      const [latest] = database.all<{ run: RunId }>(
        "SELECT run FROM jobs JOIN runs ON runs.id = jobs.run WHERE name = ? ORDER BY started_at DESC LIMIT 1",
        text,
      );
      if (latest) return lastAttempt(latest.run, text);
      const found = database.all<RawAttempt>(
        "SELECT * FROM attempts WHERE id >= ? AND id < ? LIMIT 6",
        text,
        `${text}\u{10ffff}`,
      );
      return attemptOf(only(found, text, "job", (row) => row.id));
    },
    isLive: (run) => findRun(run).state === "running",
    logPath: ({ run, id }) => logPath(folder, run, id),
    close: database.close,
  };
}

function recorder(write: (...writes: Write[]) => void, flush: () => void): EventReader {
  let run: RunId;
  const attempts = new Map<JobName, AttemptId>();

  return {
    on(event: RunEvent) {
      switch (event.type) {
        case "run-started":
          run = event.run;
          write(
            [
              "INSERT INTO runs (id, recipe, started_at, pid, pid_started) VALUES (?, ?, ?, ?, ?)",
              run,
              event.recipe,
              event.at,
              process.pid,
              processStarted(process.pid),
            ],
            ...event.jobs.map(
              (job, position): Write => [
                "INSERT INTO jobs (run, name, position, needs) VALUES (?, ?, ?, ?)",
                run,
                job.name,
                position,
                JSON.stringify(job.needs),
              ],
            ),
          );
          // Others look for the run at once, and a full disk is told before anything was started.
          return flush();
        case "job-started":
          attempts.set(event.job, event.attemptId);
          return write([
            "INSERT INTO attempts (id, run, job, attempt, runner, started_at) VALUES (?, ?, ?, ?, ?, ?)",
            event.attemptId,
            run,
            event.job,
            event.attempt,
            event.runner,
            event.at,
          ]);
        case "job-ended": {
          const attempt = attempts.get(event.job);
          const message = event.message ?? null;
          if (attempt !== undefined)
            write([
              "UPDATE attempts SET ended_at = ?, exit = ?, message = ? WHERE id = ?",
              event.at,
              event.exit ? JSON.stringify(event.exit) : null,
              message,
              attempt,
            ]);
          return write([
            "UPDATE jobs SET outcome = ?, message = ? WHERE run = ? AND name = ?",
            event.outcome,
            message,
            run,
            event.job,
          ]);
        }
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

function only<Row>(found: readonly Row[], text: string, what: string, idOf: (row: Row) => string): Row {
  const [first] = found;
  if (!first || text === "") throw new SortieError("NOT_FOUND", `There is no ${what} ${JSON.stringify(text)}.`);
  if (found.length > 1)
    throw new SortieError("AMBIGUOUS", `${text} fits more than one ${what}: ${found.map(idOf).join(", ")}.`);
  return first;
}

/** When a process started, so that a number used again is not taken for the same process; empty where it is gone. */
function processStarted(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    try {
      process.kill(pid, 0);
      return process.platform === "linux" ? "" : "alive";
    } catch {
      return "";
    }
  }
}

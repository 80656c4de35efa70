// Runs, jobs and attempts: written from the events of a run, and found again by what a person types.
import { join } from "node:path";
import * as v from "valibot";
import { closest } from "../../protocol/closest.ts";
import { SortieError } from "../../protocol/errors.ts";
import { type AttemptId, JobName, type RunId } from "../../protocol/ids.ts";
import { quote } from "../../protocol/quote.ts";
import type { EventReader } from "../events.ts";
import { type Claims, claimsOf } from "./claims.ts";
import { openDatabase } from "./database.ts";
import { processStarted } from "./process-started.ts";
import { recorder } from "./recorder.ts";
import {
  type AttemptRow,
  attemptOf,
  type JobRow,
  type PlaceRow,
  parseStored,
  type RawAttempt,
  type RawJob,
  type RawPlace,
  type RawRun,
  type RunRow,
  runOf,
} from "./rows.ts";

/** Named where something is ambiguous, or not there. */
const MOST_CANDIDATES = 5;
const MOST_NAMES = 20;

/** A job that somebody named; without an attempt while it has not started. One that was kept has that of the run it passed in. */
export interface FoundJob {
  readonly run: RunId;
  readonly job: JobName;
  readonly attempt: AttemptRow | undefined;
  /** Whether that very attempt was named, rather than the job's last. */
  readonly byAttempt: boolean;
}

/** Every call throws STORE_FAILED where the record cannot be used, and STATE_INVALID where it is damaged. */
export interface Store {
  /** Records the events of one run, but for outputs: those are the logs'. `begun`: attempts of a run that is resumed. */
  reader(begun?: Iterable<[JobName, AttemptId]>): EventReader;
  /** Makes this process the run's coordinator. False where another was faster, or still lives. */
  takeOver(run: RunId): boolean;
  /** Asks the run's coordinator, whichever process that is, to cancel a job, or all. */
  requestCancel(run: RunId, job: JobName | undefined): void;
  /** What was asked so far: `all`, or names of jobs. */
  cancellations(run: RunId): { readonly all: boolean; readonly jobs: readonly JobName[] };
  /** The latest first. */
  runs(most: number): RunRow[];
  /** By an unambiguous prefix of its id, or `last`. Throws NOT_FOUND, AMBIGUOUS. */
  findRun(text: string): RunRow;
  /** The latest run of the recipe at this absolute path that is over. */
  lastRunOf(recipe: string): RunRow | undefined;
  jobs(run: RunId): JobRow[];
  /** Other places of its jobs, of which it is not known that they are over. */
  places(run: RunId): PlaceRow[];
  forgetPlace(id: AttemptId): void;
  /** By RUN/JOB, by a job's name in the latest run that has it, or by a prefix of an attempt's id. Throws as findRun. */
  findJob(text: string): FoundJob;
  lastAttempt(run: RunId, job: JobName): AttemptRow | undefined;
  /** The one that follows; one that no runner took leaves its number to the next. */
  attemptAfter(run: RunId, job: JobName, before: AttemptRow | undefined): AttemptRow | undefined;
  /** Whether a job is not settled, and the coordinator of its run lives. */
  mayStart(run: RunId, job: JobName): boolean;
  /** Whether more may be written to the attempt's log. */
  isLive(attempt: { readonly run: RunId; readonly id: AttemptId }): boolean;
  logPath(attempt: { readonly run: RunId; readonly id: AttemptId }): string;
  /** Places of jobs in their groups. */
  readonly claims: Claims;
  close(): void;
}

export const logPath = (folder: string, run: RunId, attempt: AttemptId): string =>
  join(folder, "logs", run, `${attempt}.chunks`);

export function openStore(folder: string): Store {
  const database = openDatabase(folder);

  const runs = (most: number): RunRow[] =>
    database.all<RawRun>("SELECT * FROM runs ORDER BY started_at DESC LIMIT ?", most).map(runOf);

  function findRun(text: string): RunRow {
    if (text === "last") {
      const [last] = runs(1);
      if (last) return last;
      throw new SortieError("NOT_FOUND", "There is no run yet.");
    }
    return runOf(only(byPrefix<RawRun>("runs", text), text, "run", (row) => row.id));
  }

  /** A range rather than LIKE: what was typed may hold a wildcard. */
  const byPrefix = <Row>(table: "runs" | "attempts", text: string): Row[] =>
    database.all<Row>(
      `SELECT * FROM ${table} WHERE id >= ? AND id < ? LIMIT ${MOST_CANDIDATES + 1}`,
      text,
      `${text}\u{10ffff}`,
    );

  const lastAttempt = (run: RunId, job: JobName): AttemptRow | undefined =>
    database
      .all<RawAttempt>("SELECT * FROM attempts WHERE run = ? AND job = ? ORDER BY attempt DESC LIMIT 1", run, job)
      .map(attemptOf)[0];

  const isRunning = (run: RunId): boolean =>
    database.all<RawRun>("SELECT * FROM runs WHERE id = ?", run).some((row) => runOf(row).state === "running");

  function jobOf(run: RunId, name: string): FoundJob {
    const rows = database.all<Pick<RawJob, "name" | "kept">>(
      "SELECT name, kept FROM jobs WHERE run = ? ORDER BY position",
      run,
    );
    const names = rows.map((row) => row.name);
    const found = rows.find((row) => row.name === name);
    if (found) {
      const { name: job, kept } = found;
      return { run, job, attempt: lastAttempt((kept as RunId | null) ?? run, job), byAttempt: false };
    }
    const near = closest(name, names);
    throw new SortieError(
      "NOT_FOUND",
      `The run ${run} has no job ${JSON.stringify(name)}; it has ${names.slice(0, MOST_NAMES).join(", ")}${names.length > MOST_NAMES ? ", …" : ""}.`,
      near === undefined ? {} : { hint: `Did you mean ${quote(near)}?` },
    );
  }

  return {
    reader: (begun) => recorder(database, begun),
    takeOver(run) {
      const [row] = database.all<RawRun>("SELECT * FROM runs WHERE id = ?", run);
      if (!row || runOf(row).state !== "interrupted") return false;
      const own = processStarted(process.pid);
      database.write([
        "UPDATE runs SET pid = ?, pid_started = ? WHERE id = ? AND pid = ? AND pid_started = ?",
        process.pid,
        own,
        run,
        row.pid,
        row.pid_started,
      ]);
      const [now] = database.all<RawRun>("SELECT * FROM runs WHERE id = ?", run);
      return now?.pid === process.pid && now.pid_started === own;
    },
    requestCancel(run, job) {
      database.write(["INSERT INTO cancellations (run, job) VALUES (?, ?)", run, job ?? null]);
      database.flush();
    },
    cancellations(run) {
      const rows = database.all<{ job: JobName | null }>("SELECT job FROM cancellations WHERE run = ?", run);
      return {
        all: rows.some(({ job }) => job === null),
        jobs: rows.flatMap(({ job }) => (job === null ? [] : [job])),
      };
    },
    runs,
    findRun,
    lastRunOf: (recipe) =>
      database
        .all<RawRun>(
          "SELECT * FROM runs WHERE recipe = ? AND outcome IS NOT NULL ORDER BY started_at DESC LIMIT 1",
          recipe,
        )
        .map(runOf)[0],
    jobs(run) {
      // Asked first: of a job that is settled by then, every attempt is found.
      const rows = database.all<RawJob>("SELECT * FROM jobs WHERE run = ? ORDER BY position", run);
      const attempts = Map.groupBy(
        database.all<RawAttempt>("SELECT * FROM attempts WHERE run = ? ORDER BY job, attempt", run).map(attemptOf),
        (attempt) => attempt.job,
      );
      return rows.map(({ name, needs, outcome, message, allowed, output, fingerprint, given_by, kept }) => ({
        run,
        name,
        needs: parseStored(v.array(JobName), needs, `the job ${name}`),
        outcome,
        allowed: allowed === 1,
        message,
        fingerprint,
        kept: kept as RunId | null,
        output: output === null ? undefined : parseStored(v.unknown(), output, `the job ${name}`),
        givenBy: given_by,
        attempts: attempts.get(name) ?? [],
      }));
    },
    places: (run) =>
      database
        .all<RawPlace>("SELECT * FROM places WHERE run = ?", run)
        .map(({ id, job, runner, runner_id, started_at }) => ({
          ...{ id: id as AttemptId, run, job: job as JobName, runner, runnerId: runner_id, startedAt: started_at },
        })),
    forgetPlace: (id) => database.write(["DELETE FROM places WHERE id = ?", id]),
    findJob(text) {
      const slash = text.indexOf("/");
      if (slash >= 0) return jobOf(findRun(text.slice(0, slash)).id, text.slice(slash + 1));
      const [latest] = database.all<{ run: RunId }>(
        // CROSS keeps the order: from the latest run on, rather than through every job there ever was.
        "SELECT run FROM runs CROSS JOIN jobs ON jobs.run = runs.id AND name = ? ORDER BY started_at DESC LIMIT 1",
        text,
      );
      if (latest) return jobOf(latest.run, text);
      const attempt = attemptOf(only(byPrefix<RawAttempt>("attempts", text), text, "job", (row) => row.id));
      return { run: attempt.run, job: attempt.job, attempt, byAttempt: true };
    },
    lastAttempt,
    attemptAfter: (run, job, before) =>
      database
        .all<RawAttempt>(
          "SELECT * FROM attempts WHERE run = ? AND job = ? AND attempt >= ? AND id <> ? ORDER BY attempt LIMIT 1",
          run,
          job,
          before?.attempt ?? 0,
          before?.id ?? "",
        )
        .map(attemptOf)[0],
    mayStart: (run, job) =>
      database.all("SELECT 1 FROM jobs WHERE run = ? AND name = ? AND outcome IS NULL", run, job).length > 0 &&
      isRunning(run),
    isLive: ({ id, run }) =>
      database.all("SELECT 1 FROM attempts WHERE id = ? AND ended_at IS NULL", id).length > 0 && isRunning(run),
    logPath: ({ run, id }) => logPath(folder, run, id),
    claims: claimsOf(database),
    close: database.close,
  };
}

function only<Row>(found: readonly Row[], text: string, what: string, idOf: (row: Row) => string): Row {
  const [first] = found;
  if (!first || text === "") throw new SortieError("NOT_FOUND", `There is no ${what} ${JSON.stringify(text)}.`);
  if (found.length > 1)
    throw new SortieError(
      "AMBIGUOUS",
      `${text} fits more than one ${what}: ${found.slice(0, MOST_CANDIDATES).map(idOf).join(", ")}${found.length > MOST_CANDIDATES ? ", …" : ""}.`,
    );
  return first;
}

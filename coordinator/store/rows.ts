// Rows of the record: as SQLite gives them, and as the rest of the coordinator reads them. store.ts queries them.
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { Exit } from "../../protocol/exit.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import { AskedOn } from "../ask-on.ts";
import { type JobOutcome, outcomeOf, type RunOutcome } from "../events.ts";
import { GivenParam } from "../given-params.ts";
import { NOT_JOURNALED } from "../proof.ts";
import { SandboxGrants } from "../sandbox/grants.ts";
import { Selection } from "../select.ts";
import { processStarted } from "./process-started.ts";

export interface RunRow {
  readonly id: RunId;
  readonly recipe: string;
  readonly startedAt: number;
  readonly endedAt: number | null;
  /** `running` while its coordinator lives; `interrupted` when that is gone without an end. */
  readonly state: RunOutcome | "running" | "interrupted";
  readonly message: string | null;
  /** Of the recipe's plan; null for a single command. */
  readonly fingerprint: string | null;
  /** The recipe's, as they were given. */
  readonly params: readonly GivenParam[];
  /** Which of the recipe's jobs were asked for; null: all. */
  readonly selection: Selection | null;
  /** What was asked of every job's runner besides. */
  readonly on: AskedOn;
  /** The run that it went on from. */
  readonly after: RunId | null;
  /** What its recipe may do; null: it is in no sandbox. */
  readonly sandbox: SandboxGrants | null;
}

export interface JobRow {
  readonly run: RunId;
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly outcome: JobOutcome | null;
  /** It failed, and the run could pass nevertheless. */
  readonly allowed: boolean;
  readonly message: string | null;
  /** Null where it was recorded before there were any. */
  readonly fingerprint: string | null;
  /** The run that it passed in, where it was not run again. */
  readonly kept: RunId | null;
  /** A value of JSON; undefined where it has none. */
  readonly output: unknown;
  /** The job whose function gave it, while the run went on. */
  readonly givenBy: JobName | null;
  readonly attempts: readonly AttemptRow[];
}

export interface AttemptRow {
  readonly id: AttemptId;
  readonly run: RunId;
  readonly job: JobName;
  readonly attempt: number;
  readonly runner: string;
  /** Its peer ID, or `embedded`. */
  readonly runnerId: string | null;
  readonly startedAt: number;
  readonly endedAt: number | null;
  readonly exit: Exit | undefined;
  /** Null while it runs, and where it was recorded before there were any. `interrupted`: it ended with its coordinator. */
  readonly outcome: JobOutcome | "interrupted" | null;
  readonly message: string | null;
  /** What of its outputs did not arrive, by the runner's counts and hashes. */
  readonly gap: string | null;
  /** A function drove it. */
  readonly driven: boolean;
}

/** Another place that a job had when its coordinator ended. */
export type PlaceRow = Pick<AttemptRow, "id" | "run" | "job" | "runner" | "runnerId" | "startedAt">;

/** How an attempt came out that was not the last, or may not be. One without an exit, or whose log proves nothing, was lost. */
export function outcomeOfTry({ outcome, exit, gap }: AttemptRow): "failed" | "lost" {
  if (outcome !== null) return outcome === "failed" ? "failed" : "lost";
  return exit && outcomeOf(exit) === "failed" && !gap?.includes(NOT_JOURNALED) ? "failed" : "lost";
}

/** The last attempt, where nothing is known of its end. */
export function openAttempt({ attempts }: JobRow): AttemptRow | undefined {
  const last = attempts.at(-1);
  return last?.endedAt === null ? last : undefined;
}

export interface RawRun {
  id: string;
  recipe: string;
  started_at: number;
  ended_at: number | null;
  outcome: string | null;
  message: string | null;
  pid: number;
  pid_started: string;
  fingerprint: string | null;
  params: string | null;
  selection: string | null;
  asked_on: string | null;
  after: string | null;
  sandbox: string | null;
}
export interface RawJob {
  name: JobName;
  needs: string;
  outcome: JobOutcome | null;
  message: string | null;
  allowed: number | null;
  fingerprint: string | null;
  kept: string | null;
  output: string | null;
  given_by: JobName | null;
}
export interface RawAttempt {
  id: string;
  run: string;
  job: string;
  attempt: number;
  runner: string;
  runner_id: string | null;
  started_at: number;
  ended_at: number | null;
  exit: string | null;
  outcome: AttemptRow["outcome"];
  message: string | null;
  gap: string | null;
  driven: number | null;
}

export interface RawPlace {
  id: string;
  job: string;
  runner: string;
  runner_id: string;
  started_at: number;
}

export const runOf = (row: RawRun): RunRow => ({
  id: row.id as RunId,
  recipe: row.recipe,
  startedAt: row.started_at,
  endedAt: row.ended_at,
  state:
    (row.outcome as RunOutcome | null) ?? (processStarted(row.pid) === row.pid_started ? "running" : "interrupted"),
  message: row.message,
  fingerprint: row.fingerprint,
  params: row.params === null ? [] : parseStored(v.array(GivenParam), row.params, `the run ${row.id}`),
  selection: row.selection === null ? null : parseStored(Selection, row.selection, `the run ${row.id}`),
  on: row.asked_on === null ? {} : parseStored(AskedOn, row.asked_on, `the run ${row.id}`),
  after: row.after as RunId | null,
  sandbox: row.sandbox === null ? null : parseStored(SandboxGrants, row.sandbox, `the run ${row.id}`),
});

export const attemptOf = (row: RawAttempt): AttemptRow => ({
  id: row.id as AttemptId,
  run: row.run as RunId,
  job: row.job as JobName,
  attempt: row.attempt,
  runner: row.runner,
  runnerId: row.runner_id,
  startedAt: row.started_at,
  endedAt: row.ended_at,
  exit: row.exit === null ? undefined : parseStored(Exit, row.exit, `the attempt ${row.id}`),
  outcome: row.outcome,
  message: row.message,
  gap: row.gap,
  driven: row.driven === 1,
});

/** What was written down, as it was: a record that somebody damaged is told, not believed. */
export function parseStored<Schema extends v.GenericSchema>(
  schema: Schema,
  text: string,
  where: string,
): v.InferOutput<Schema> {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    // Not JSON is not the schema either.
  }
  const parsed = v.safeParse(schema, json);
  if (parsed.success) return parsed.output;
  throw new SortieError("STATE_INVALID", `The record of ${where} is damaged.`);
}

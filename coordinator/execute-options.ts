// What a plan is executed with, and what an earlier coordinator process did of it.
import type { JobName, RunId } from "../protocol/ids.ts";
import type { Answers } from "./answers.ts";
import type { JobOutcome, RunEvent } from "./events.ts";
import type { KnownRunner } from "./fleet.ts";
import type { KnownResult } from "./known-result.ts";
import type { BegunAttempt } from "./left-behind.ts";
import type { JobNames, Plan, PlanJob } from "./plan.ts";
import type { Secrets } from "./secrets.ts";
import type { Claims } from "./store/claims.ts";

export interface ExecuteOptions {
  readonly run: RunId;
  readonly plan: Plan & { readonly names: JobNames; readonly source: string };
  /** The recipe's, as its schema made them. */
  readonly params: Readonly<Record<string, unknown>>;
  readonly runners: readonly KnownRunner[];
  readonly folder: string;
  /** Of all its jobs, as far as they are known. Default: there are none. */
  readonly secrets?: Secrets;
  /** Places of jobs in their groups, of all runs. */
  readonly claims: Claims;
  /** Attempts under way at once, over all runners. */
  readonly jobs: number;
  /** Whether a job that failed or was lost ends the run. */
  readonly failFast: boolean;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** To what jobs ask, given beforehand. */
  readonly answers?: Answers;
  readonly cancelled: AbortSignal;
  /** Called with what cancels one job by its name. */
  readonly onCancellable?: (cancelJob: (name: JobName) => void) => void;
  /** Called with what ends the jobs that run although the run was cancelled; that gives whether there were any. */
  readonly onHurried?: (hurry: () => boolean) => void;
  /** Jobs that another gave, as this run asks for them. Throws where one of them cannot be. */
  readonly admit?: (jobs: readonly PlanJob[]) => readonly PlanJob[];
  /** Gets ready for jobs that another gave; they are admitted then. Rejects where one of them cannot be. */
  readonly prepare?: (jobs: readonly PlanJob[]) => Promise<void>;
  /** What an earlier coordinator process did of this run. */
  readonly earlier?: Earlier;
}

export interface Earlier {
  readonly outcomes: ReadonlyMap<JobName, JobOutcome>;
  /** The same of jobs that others gave, which are known once they are given again. */
  readonly given: ReadonlyMap<JobName, JobOutcome>;
  /** What it knew of the jobs. */
  readonly results: ReadonlyMap<JobName, KnownResult>;
  /** Attempts of each job that it began. */
  readonly attempts: ReadonlyMap<JobName, number>;
  /** Those of them that failed. */
  readonly failures: ReadonlyMap<JobName, number>;
  /** Those that the infrastructure failed. */
  readonly losses: ReadonlyMap<JobName, number>;
  /** What jobs that others gave were, where that is known: one of the same name may be another. */
  readonly fingerprints: ReadonlyMap<JobName, string>;
  /** Attempts that may still run, under their jobs' names. */
  readonly begun: ReadonlyMap<JobName, BegunAttempt>;
}

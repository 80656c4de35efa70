// Which job may go where, now. Pure but for what it is told; run.ts drives it.
import type { JobName } from "../protocol/ids.ts";
import type { Labels } from "../protocol/messages.ts";
import type { JobOutcome } from "./events.ts";
import type { PlanJob } from "./plan.ts";

/** A runner that takes jobs now. `free` is what is left of its slots. */
export interface RunnerState {
  readonly id: string;
  readonly name: string;
  readonly labels: Labels;
  readonly free: number;
}

export interface Placement {
  readonly job: PlanJob;
  readonly runner: string;
}

/** A job that will never run, and the job whose outcome decided that. */
export interface Skip {
  readonly job: PlanJob;
  readonly because: JobName;
}

// class Schedule {
//   constructor(plan: Plan)
//   place(runners: readonly RunnerState[]): Placement[]     — takes ready jobs off the ready list; most free first
//   settle(job: JobName, outcome: JobOutcome): Skip[]       — unlocks or skips what needs it (transitively)
//   requeue(job: JobName): void                             — a placement the runner could not take (full): ready again
//   stop(): PlanJob[]                                       — no more placements; gives the jobs that never started
//   readonly settled: boolean                               — every job is settled or skipped
//   waiting(): PlanJob[]                                    — ready jobs without a place
// }
export type { JobOutcome };

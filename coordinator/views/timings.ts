// When each job of a run began to wait, to start and to run, out of the run's events; gantt.ts draws it.
import type { JobName } from "../../protocol/ids.ts";
import type { JobOutcome, PlannedJob, RunEvent } from "../events.ts";

/** What a job does, or waits for: what it needs, a free slot, its process, its end. */
export type Phase = "needs" | "slot" | "starting" | "running";

export interface TimedJob {
  readonly name: JobName;
  readonly needs: readonly JobName[];
  readonly outcome: JobOutcome;
  /** In order; each lasts until the next begins, the last until `endedAt`. */
  readonly phases: readonly { readonly phase: Phase; readonly at: number }[];
  readonly endedAt: number;
}

export interface Timings {
  readonly startedAt: number;
  readonly endedAt: number;
  /** Those that ended, in that order. */
  readonly jobs: readonly TimedJob[];
}

export function collectTimings(): { on(event: RunEvent): void; timings(): Timings | undefined } {
  const needs = new Map<JobName, readonly JobName[]>();
  const phases = new Map<JobName, { phase: Phase; at: number }[]>();
  const missing = new Map<JobName, Set<JobName>>();
  const dependants = new Map<JobName, JobName[]>();
  const jobs: TimedJob[] = [];
  let startedAt: number | undefined;
  let endedAt = 0;

  function begin(job: JobName, phase: Phase, at: number): void {
    const list = phases.get(job) ?? [{ phase: "slot", at }];
    phases.set(job, list);
    // A runner's clock may be another one; time does not go back.
    list.push({ phase, at: Math.max(at, list.at(-1)?.at ?? at) });
  }

  function end({ job, at, outcome, kept }: RunEvent & { type: "job-ended" }): void {
    const list = phases.get(job) ?? [];
    const known = list.map((one) => ({ ...one, at: Math.min(one.at, at) }));
    // What was kept took none of this run's time.
    if (!kept) jobs.push({ name: job, needs: needs.get(job) ?? [], outcome, phases: known, endedAt: at });
    for (const dependant of dependants.get(job) ?? []) {
      const left = missing.get(dependant);
      if (left?.delete(job) && left.size === 0) begin(dependant, "slot", at);
    }
  }

  function plan(jobs: readonly PlannedJob[], at: number): void {
    for (const job of jobs) {
      needs.set(job.name, job.needs);
      missing.set(job.name, new Set(job.needs));
      phases.set(job.name, [{ phase: job.needs.length === 0 ? "slot" : "needs", at: at }]);
      for (const need of job.needs) {
        const list = dependants.get(need);
        if (list) list.push(job.name);
        else dependants.set(need, [job.name]);
      }
    }
  }

  return {
    on(event) {
      endedAt = event.at;
      switch (event.type) {
        case "run-started":
        case "run-resumed":
          startedAt = event.at;
          return plan(event.jobs, event.at);
        case "jobs-joined":
          return plan(event.jobs, event.at);
        case "job-dispatched":
          return begin(event.job, "starting", event.at);
        case "job-returned":
        case "job-retrying":
          return begin(event.job, "slot", event.at);
        case "job-started":
          return begin(event.job, "running", event.at);
        case "job-ended":
          return end(event);
        default:
          return;
      }
    },
    timings: () => (startedAt === undefined ? undefined : { startedAt, endedAt, jobs }),
  };
}

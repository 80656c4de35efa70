// What is told of an attempt alike, whether commands make it up or a function drives it: dispatch.ts and drive.ts tell it.
import type { AttemptId, JobName } from "../protocol/ids.ts";
import type { RunEvent } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import type { PlanJob } from "./plan.ts";

interface Begun {
  readonly job: PlanJob;
  readonly attempt: number;
  readonly runner: RunnerLink;
}

/** Told, and on record, before the runner hears of it: whoever resumes the run must know that it may be there. */
export const dispatchedEvent = (
  { job, attempt, runner }: Begun,
  attemptId: AttemptId,
  at: number,
): RunEvent & { readonly type: "job-dispatched" } => ({
  type: "job-dispatched",
  at,
  job: job.name,
  attempt,
  attemptId,
  runner: runner.name,
  runnerId: runner.id,
});

/** The connection to the runner was lost, and why; or, without that, it is there again. */
export function connectionEvent(job: JobName, runner: string, lost: string | undefined): RunEvent {
  const at = Date.now();
  return lost === undefined
    ? { type: "job-reconnected", at, job }
    : { type: "job-reconnecting", at, job, message: `${runner}: ${lost}` };
}

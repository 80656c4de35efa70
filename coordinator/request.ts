// What a runner is asked for, of a job of the plan. dispatch.ts and drive.ts send it.
import type { AttemptId, RunId } from "../protocol/ids.ts";
import type { JobRequest } from "../protocol/messages.ts";
import type { PlanJob } from "./plan.ts";

const sent = [
  ...(["env", "cwd", "timeoutMs", "graceMs", "leaseMs"] as const),
  ...(["container", "ssh", "user", "limits", "nice", "umask"] as const),
] satisfies (keyof PlanJob & keyof JobRequest)[];

export function requestOf(run: RunId, job: PlanJob, attempt: number, attemptId: AttemptId): JobRequest {
  const asked = Object.fromEntries(
    sent.flatMap((name) => (job[name] === undefined ? [] : [[name, job[name]]])),
  ) as Pick<PlanJob, (typeof sent)[number]>;
  const slots = job.on.slots === undefined ? {} : { slots: job.on.slots };
  return { attemptId, run, job: job.name, attempt, stdin: false, ...asked, ...slots, steps: [...job.steps] };
}

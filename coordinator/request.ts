// What a runner is asked for, of a job of the plan. dispatch.ts and drive.ts send it.
import type { AttemptId, RunId } from "../protocol/ids.ts";
import type { JobRequest } from "../protocol/messages.ts";
import type { PlanJob } from "./plan.ts";
import { withSecrets } from "./secrets.ts";

const sent = [
  ...(["env", "cwd", "timeoutMs", "graceMs", "leaseMs"] as const),
  ...(["container", "ssh", "user", "limits", "nice", "umask"] as const),
] satisfies (keyof PlanJob & keyof JobRequest)[];

/** With the values of its secrets, which are nowhere before. Throws SECRET_MISSING. */
export function requestOf(run: RunId, job: PlanJob, attempt: number, attemptId: AttemptId): JobRequest {
  const whole = withSecrets(job, process.env);
  const asked = Object.fromEntries(
    sent.flatMap((name) => (whole[name] === undefined ? [] : [[name, whole[name]]])),
  ) as Pick<PlanJob, (typeof sent)[number]>;
  const slots = job.on.slots === undefined ? {} : { slots: job.on.slots };
  return {
    attemptId,
    run,
    job: job.name,
    attempt,
    stdin: job.stdin !== undefined,
    ...asked,
    ...slots,
    steps: [...job.steps],
  };
}

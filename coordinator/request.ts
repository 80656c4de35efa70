// What a runner is asked for, of a job of the plan. dispatch.ts and drive.ts send it.
import type { AttemptId, RunId } from "../protocol/ids.ts";
import type { JobRequest } from "../protocol/messages.ts";
import type { PlanJob } from "./plan.ts";
import type { Secrets } from "./secrets.ts";

const sent = [
  ...(["env", "cwd", "timeoutMs", "graceMs", "leaseMs"] as const),
  ...(["container", "ssh", "user", "limits", "nice", "umask"] as const),
] satisfies (keyof PlanJob & keyof JobRequest)[];

/** With the values of its secrets, which are in no other place of it. */
export function requestOf(
  { run, attempt, secrets }: { readonly run: RunId; readonly attempt: number; readonly secrets: Secrets },
  job: PlanJob,
  attemptId: AttemptId,
): JobRequest {
  const delivered = secrets.deliveredTo(job);
  const asked = Object.fromEntries(
    sent.flatMap((name) => (job[name] === undefined ? [] : [[name, job[name]]])),
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
    ...(delivered.length > 0 ? { secrets: delivered } : {}),
    steps: [...job.steps],
  };
}

// A plan as one JSON document, for `--dry-run --format json`: docs/views.md lists its fields. Values of variables are
// not part of it, since they may be secrets, and this is read by CI systems.
import type { Environment } from "../../protocol/command.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";
import type { Group } from "../group.ts";
import type { Plan, PlanJob } from "../plan.ts";
import { describeNotify } from "../recipe/notify.ts";
import type { PlanSecret } from "../recipe/plan-secret.ts";

/** `kept`: jobs that are not run, and the run in which each of them passed. */
export const planDocument = ({ recipe, jobs }: Plan, kept: ReadonlyMap<JobName, RunId> = new Map()) => ({
  recipe,
  jobs: jobs.map((job) => ({ ...jobDocument(job), kept: kept.get(job.name) })),
});

function jobDocument(job: PlanJob) {
  const { container, output, stdin } = job;
  return {
    name: job.name,
    needs: job.needs,
    on: job.on,
    steps: job.steps,
    variables: namesOf(job.env),
    graceMs: job.graceMs,
    cwd: job.cwd,
    timeoutMs: job.timeoutMs,
    queueMs: job.queueMs,
    concurrency: job.group && concurrencyOf(job.group),
    leaseMs: job.leaseMs,
    retry: job.retry,
    allowFailure: job.allowFailure,
    always: job.always,
    priority: job.priority,
    inputs: job.inputs,
    outputs: job.outputs,
    stdin: typeof stdin === "string" ? { bytes: Buffer.byteLength(stdin) } : stdin,
    secrets: job.secrets?.map(secretDocument),
    notify: job.notify?.map((one) => ({ on: one.on, to: describeNotify(one) })),
    function: job.drive ? true : undefined,
    if: job.condition ? true : undefined,
    output: output === undefined || typeof output === "string" ? output : "schema",
    also: job.also?.map(({ env, secrets, ...place }) => ({
      ...place,
      variables: namesOf(env),
      secrets: secrets?.map(secretDocument),
    })),
    container: container && {
      ...container,
      services: container.services.map(({ env, ...service }) => ({ ...service, variables: namesOf(env) })),
    },
    ssh: job.ssh,
    user: job.user,
    limits: job.limits,
    nice: job.nice,
    umask: job.umask,
    location: job.at,
  };
}

const concurrencyOf = ({ name, limit, cancelsOlder }: Group) => ({
  group: name,
  limit,
  when: cancelsOlder ? "cancel-older" : "queue",
});

/** Where it is read from is said where that is no variable. */
const secretDocument = ({ name, from, as, source, service }: PlanSecret) => ({
  name,
  from,
  as: as === "env" ? undefined : as,
  ...("env" in source ? {} : source),
  service,
});

const namesOf = (env: Environment): string[] => env.map(([name]) => name);

// A plan as one JSON document, for `--dry-run --format json`: docs/views.md lists its fields. Values of variables are
// not part of it, since they may be secrets, and this is read by CI systems.
import type { Environment } from "../../protocol/command.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";
import type { Plan, PlanJob } from "../plan.ts";

/** `kept`: jobs that are not run, and the run in which each of them passed. */
export const planDocument = ({ recipe, jobs }: Plan, kept: ReadonlyMap<JobName, RunId> = new Map()) => ({
  recipe,
  jobs: jobs.map((job) => ({ ...jobDocument(job), kept: kept.get(job.name) })),
});

function jobDocument(job: PlanJob) {
  const { name, needs, on, steps, env, cwd, timeoutMs, graceMs, leaseMs, at, ...rest } = job;
  const {
    container,
    ssh,
    user,
    limits,
    nice,
    umask,
    retry,
    allowFailure,
    always,
    priority,
    inputs,
    outputs,
    stdin,
    secrets,
  } = rest;
  return {
    name,
    needs,
    on,
    steps,
    variables: namesOf(env),
    graceMs,
    cwd,
    timeoutMs,
    leaseMs,
    retry,
    allowFailure,
    always,
    priority,
    inputs,
    outputs,
    stdin: typeof stdin === "string" ? { bytes: Buffer.byteLength(stdin) } : stdin,
    secrets,
    container: container && {
      ...container,
      services: container.services.map(({ env: own, ...service }) => ({ ...service, variables: namesOf(own) })),
    },
    ssh,
    user,
    limits,
    nice,
    umask,
    location: at,
  };
}

const namesOf = (env: Environment): string[] => env.map(([name]) => name);

// Whether a recipe still describes what it did. Pure.
import { createHash } from "node:crypto";
import type { Environment } from "../protocol/command.ts";
import type { Container } from "../protocol/place.ts";
import type { Plan, PlanJob } from "./plan.ts";
import { selectorKey } from "./selectors.ts";

/**
 * Tells whether a recipe still describes the same jobs. Values of variables are not part of it: they may be secrets, and
 * this is kept.
 */
export const fingerprintOf = (plan: Plan): string => digestOf(plan.jobs.map(describeJob));

/** The same of one job. */
export const fingerprintOfJob = (job: PlanJob): string => digestOf(describeJob(job));

const digestOf = (value: unknown): string => createHash("sha256").update(JSON.stringify(value)).digest("hex");

function describeJob({ name, needs, on, steps, env, cwd, timeoutMs, graceMs, container, ...rest }: PlanJob): object {
  const { ssh, user, limits, nice, umask, retry, allowFailure, always, priority, also } = rest;
  const { drive, condition, output, secrets, stdin, outputs, queueMs, group } = rest;
  const functions = { drive: drive?.toString(), condition: condition?.toString(), output: namedOutput(output) };
  const places = also?.map(({ env: own, on: asks, ...place }) => ({
    ...place,
    on: selectorKey(asks),
    variables: namesOf(own),
  }));
  const place = { container: container && withoutValues(container), ssh, user, limits, nice, umask };
  const asked = { name, needs, on: selectorKey(on), steps, variables: namesOf(env), cwd, timeoutMs, graceMs };
  return {
    ...asked,
    ...place,
    retry,
    allowFailure,
    always,
    priority,
    ...functions,
    places,
    secrets,
    stdin,
    outputs,
    queueMs,
    group,
  };
}

/** A schema is code: that there is one is all that can be told. */
const namedOutput = (output: PlanJob["output"]): string | undefined =>
  output === undefined || typeof output === "string" ? output : "schema";

const namesOf = (env: Environment): string[] => env.map(([name]) => name);

const withoutValues = ({ services, ...container }: Container) => ({
  ...container,
  services: services.map(({ env, ...service }) => ({ ...service, variables: namesOf(env) })),
});

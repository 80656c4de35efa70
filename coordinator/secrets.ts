// Secrets of a plan, out of the coordinator's environment. A value is in nothing that is planned, told or kept: it joins a
// job's variables where the runner is asked for it, and nowhere before.
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { quoted } from "../protocol/quote.ts";
import type { PlanJob } from "./plan.ts";
import { isSecret } from "./recipe/secret.ts";

type Asking = Pick<PlanJob, "secrets" | "also" | "at" | "notify"> & { readonly name: string };

/** What must not be seen of these jobs. Throws SECRET_MISSING where one asks for a variable that is not set, or empty. */
export const secretValues = (jobs: readonly Asking[], environment: NodeJS.ProcessEnv): string[] => [
  ...new Set(jobs.flatMap((job) => variablesOf(job).map((from) => read(job, from, environment)))),
];

/** What takes the job's values out of a text, also where a shell's quotes are around them. Throws SECRET_MISSING. */
export function secretHider(job: Asking, environment: NodeJS.ProcessEnv): (text: string) => string {
  const forms = secretValues([job], environment).flatMap((value) => [value, quoted(value).slice(1, -1)]);
  // One may be a part of another: the rest of that would be seen.
  forms.sort((a, b) => b.length - a.length);
  return (text) => forms.reduce((hidden, form) => hidden.replaceAll(form, "***"), text);
}

/** The job with the values. Throws SECRET_MISSING. */
export function withSecrets(job: PlanJob, environment: NodeJS.ProcessEnv): PlanJob {
  const { secrets = [], container } = job;
  if (secrets.length === 0) return job;
  const valuesFor = (service: string | undefined): [string, string][] =>
    secrets.filter((one) => one.service === service).map(({ name, from }) => [name, read(job, from, environment)]);
  const services = container?.services.map((service) => ({
    ...service,
    env: [...service.env, ...valuesFor(service.name)],
  }));
  return {
    ...job,
    env: [...job.env, ...valuesFor(undefined)],
    ...(container && services ? { container: { ...container, services } } : {}),
  };
}

const variablesOf = ({ secrets = [], also = [], notify = [] }: Asking): string[] => [
  ...[secrets, ...also.map((place) => place.secrets ?? [])].flat().map(({ from }) => from),
  ...notify.flatMap((one) => ("url" in one && isSecret(one.url) ? [one.url.variable] : [])),
];

/** A variable that is empty is what CI services make of a secret that they do not have. */
function read(
  { name, at }: { name: JobName | string; at?: Asking["at"] },
  from: string,
  environment: NodeJS.ProcessEnv,
): string {
  const value = environment[from];
  if (value) return value;
  throw new SortieError(
    "SECRET_MISSING",
    `${name} asks for the secret ${from}, which is ${value === undefined ? "not set" : "empty"} here.`,
    at ? { at } : {},
  );
}

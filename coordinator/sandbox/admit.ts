// What a sandboxed recipe's plan may ask the coordinator itself to do, beside sending jobs to runners: read a file, watch folders,
// deliver a secret, tell somebody. Each is held against what was granted, and the job is made anew of what is left. sandbox.ts asks.
import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import type { ConditionElsewhere, FunctionElsewhere } from "../elsewhere.ts";
import type { PlanJob } from "../plan-job.ts";
import type { Notify } from "../recipe/notify.ts";
import type { StandardSchema } from "../recipe/schema.ts";
import { type SecretSource, secret } from "../recipe/secret.ts";
import { anchored } from "../touched.ts";
import { denied, isNamed, isWithin, realPath, type SandboxGrants } from "./grants.ts";
import type { WireJob, WireNotify, WireSecretSource } from "./wire-job.ts";

export interface AdmitOptions {
  /** The recipe's file. */
  readonly recipe: string;
  readonly grants: SandboxGrants;
  readonly readable: readonly string[];
  /** Of the recipe: no other is a place of a job. */
  readonly files: ReadonlySet<string>;
  drive(job: WireJob, digest: string): FunctionElsewhere;
  condition(job: WireJob, digest: string): ConditionElsewhere;
  schema(job: WireJob): StandardSchema;
}

/** Throws SANDBOX_DENIED, at the job's own line. */
export function admitted(wire: WireJob, options: AdmitOptions): PlanJob {
  const { grants, recipe, readable, files } = options;
  const { drive, condition, output, notify, stdin, group, at: told, ...rest } = withRealFiles(wire, recipe);
  const at = told && files.has(told.file) ? told : undefined;
  const here = (what: string, flag: string | undefined) => denied(`${what} (${wire.name})`, flag, at);
  const secrets = [...(wire.secrets ?? []), ...(wire.also ?? []).flatMap((place) => place.secrets ?? [])];
  for (const { source } of secrets) checkSource(source, grants, readable, here);
  for (const input of wire.inputs ?? []) {
    const { base } = anchored(dirname(recipe), input);
    if (!isWithin(base, readable)) throw here(`have ${base} watched`, `--allow-read=${base}`);
  }
  if (typeof stdin === "object" && "file" in stdin && !isWithin(stdin.file, readable))
    throw here(`read ${stdin.file}`, `--allow-read=${stdin.file}`);
  return {
    ...(rest as Omit<PlanJob, "drive" | "condition" | "output" | "notify" | "stdin" | "group" | "at">),
    ...(stdin === undefined ? {} : { stdin: admittedStdin(stdin) }),
    ...(group ? { group: { ...group, name: ownGroup(recipe, group.name) } as NonNullable<PlanJob["group"]> } : {}),
    ...(notify ? { notify: notify.map((one) => admittedNotify(one, options, here)) } : {}),
    ...(drive === undefined ? {} : { drive: options.drive(wire, drive) }),
    ...(condition === undefined ? {} : { condition: options.condition(wire, condition) }),
    ...(output === undefined ? {} : { output: output === "schema" ? options.schema(wire) : output }),
    ...(at ? { at } : {}),
  };
}

/** A command would run here, and with all of the coordinator's environment: nothing grants that. Throws SANDBOX_DENIED. */
export function admittedNotify(
  one: WireNotify,
  { recipe, grants, readable }: Pick<AdmitOptions, "recipe" | "grants" | "readable">,
  wrong: (what: string, flag: string | undefined) => Error,
): Notify {
  if ("command" in one) throw wrong(`have ${one.command[0]} run here to tell somebody`, undefined);
  if (!grants.net) throw wrong("have something posted to an address", "--allow-net");
  if ("url" in one) return { on: one.on, url: one.url };
  const source = realSource(one.secretUrl, recipe);
  checkSource(source, grants, readable, wrong);
  return { on: one.on, url: secret(source as SecretSource) };
}

/** What was looked at is what is read, wherever links lead by then. */
function withRealFiles(wire: WireJob, recipe: string): WireJob {
  const real = (secrets: WireJob["secrets"]) =>
    secrets?.map((one) => ({ ...one, source: realSource(one.source, recipe) }));
  const { secrets, also } = wire;
  return {
    ...wire,
    ...(secrets ? { secrets: real(secrets) } : {}),
    ...(also
      ? { also: also.map((place) => (place.secrets ? { ...place, secrets: real(place.secrets) } : place)) }
      : {}),
  };
}

const realSource = (source: WireSecretSource, recipe: string): WireSecretSource =>
  "file" in source ? { file: realPath(resolve(dirname(recipe), source.file)) } : source;

const admittedStdin = (stdin: NonNullable<WireJob["stdin"]>): NonNullable<PlanJob["stdin"]> =>
  typeof stdin === "object" && "file" in stdin ? { file: realPath(stdin.file) } : stdin;

/** By the variable that is read, whatever the recipe calls it; a file as any other that it reads. Throws SANDBOX_DENIED. */
function checkSource(
  source: WireSecretSource,
  grants: SandboxGrants,
  readable: readonly string[],
  wrong: (what: string, flag: string | undefined) => Error,
): void {
  if ("command" in source) throw wrong(`have ${source.command[0]} run here for a secret`, undefined);
  if ("file" in source) {
    if (!isWithin(source.file, readable)) throw wrong(`read ${source.file}`, `--allow-read=${source.file}`);
  } else if (!isNamed(source.env, grants.secret))
    throw wrong(`have the secret ${source.env} delivered`, `--allow-secret=${source.env}`);
}

/** The recipe's alone: in a group of others it could keep their jobs waiting, or cancel them. */
const ownGroup = (recipe: string, name: string): string =>
  `sandbox:${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}:${name}`;

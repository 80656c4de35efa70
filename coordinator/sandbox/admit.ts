// What a sandboxed recipe's plan may ask the coordinator itself to do, beside sending jobs to runners: read a file, watch folders,
// deliver a secret, tell somebody. Each is held against what was granted, and the job is made anew of what is left. sandbox.ts asks.
import { createHash } from "node:crypto";
import { dirname, resolve } from "node:path";
import { realPath } from "../../protocol/real-path.ts";
import type { ConditionElsewhere, FunctionElsewhere } from "../elsewhere.ts";
import type { PlanJob } from "../plan-job.ts";
import type { Notify } from "../recipe/notify.ts";
import type { StandardSchema } from "../recipe/schema.ts";
import { type SecretSource, secret } from "../recipe/secret.ts";
import { anchored } from "../touched.ts";
import { denied, isNamed, type SandboxGrants } from "./grants.ts";
import type { WireJob, WireNotify, WireSecretSource } from "./wire-job.ts";

export interface AdmitOptions {
  /** The recipe's file. */
  readonly recipe: string;
  readonly grants: SandboxGrants;
  /** Whether the recipe may read what is there. */
  readonly mayRead: (path: string) => boolean;
  /** Of the recipe: no other is a place of a job. */
  readonly files: ReadonlySet<string>;
  drive(job: WireJob, digest: string): FunctionElsewhere;
  condition(job: WireJob, digest: string): ConditionElsewhere;
  schema(job: WireJob): StandardSchema;
}

/** Throws SANDBOX_DENIED, at the job's own line. */
export function admitted(wire: WireJob, options: AdmitOptions): PlanJob {
  const { recipe, mayRead, files } = options;
  const { drive, condition, output, notify, stdin, group, at: told, ...rest } = withRealFiles(wire, recipe);
  const at = told && files.has(told.file) ? told : undefined;
  const here = (what: string, flag: string | undefined) => denied(`${what} (${wire.name})`, flag, at);
  const secrets = [...(wire.secrets ?? []), ...(wire.also ?? []).flatMap((place) => place.secrets ?? [])];
  for (const { source } of secrets) checkSource(source, options, here);
  for (const input of wire.inputs ?? []) {
    const { base } = anchored(dirname(recipe), input);
    if (!mayRead(base)) throw here(`have ${base} watched`, `--allow-read=${base}`);
  }
  if (typeof stdin === "object" && "file" in stdin && !mayRead(stdin.file)) {
    const { file } = wire.stdin as typeof stdin;
    throw here(`read ${file}`, `--allow-read=${file}`);
  }
  return {
    ...(rest as Omit<PlanJob, "drive" | "condition" | "output" | "notify" | "stdin" | "group" | "at">),
    ...(stdin === undefined ? {} : { stdin }),
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
  options: Pick<AdmitOptions, "recipe" | "grants" | "mayRead">,
  wrong: (what: string, flag: string | undefined) => Error,
): Notify {
  if ("command" in one) throw wrong(`have ${one.command[0]} run here to tell somebody`, undefined);
  if (!options.grants.net) throw wrong("have something posted to an address", "--allow-net");
  if ("url" in one) return { on: one.on, url: one.url };
  const source = realSource(one.secretUrl, options.recipe);
  checkSource(source, options, wrong);
  return { on: one.on, url: secret(source as SecretSource) };
}

/** What was looked at is what is read, wherever links lead by then. */
function withRealFiles(wire: WireJob, recipe: string): WireJob {
  const real = (secrets: WireJob["secrets"]) =>
    secrets?.map((one) => ({ ...one, source: realSource(one.source, recipe) }));
  const { secrets, also, stdin } = wire;
  return {
    ...wire,
    ...(typeof stdin === "object" && "file" in stdin ? { stdin: { file: realPath(stdin.file) } } : {}),
    ...(secrets ? { secrets: real(secrets) } : {}),
    ...(also
      ? { also: also.map((place) => (place.secrets ? { ...place, secrets: real(place.secrets) } : place)) }
      : {}),
  };
}

const realSource = (source: WireSecretSource, recipe: string): WireSecretSource =>
  "file" in source ? { file: realPath(resolve(dirname(recipe), source.file)) } : source;

/** By the variable that is read, whatever the recipe calls it; a file as any other that it reads. Throws SANDBOX_DENIED. */
function checkSource(
  source: WireSecretSource,
  { grants, mayRead }: Pick<AdmitOptions, "grants" | "mayRead">,
  wrong: (what: string, flag: string | undefined) => Error,
): void {
  if ("command" in source) throw wrong(`have ${source.command[0]} run here for a secret`, undefined);
  if ("file" in source) {
    if (!mayRead(source.file)) throw wrong(`read ${source.file}`, `--allow-read=${source.file}`);
  } else if (!isNamed(source.env, grants.secret))
    throw wrong(`have the secret ${source.env} delivered`, `--allow-secret=${source.env}`);
}

/** The recipe's alone: in a group of others it could keep their jobs waiting, or cancel them. */
const ownGroup = (recipe: string, name: string): string =>
  `sandbox:${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}:${name}`;

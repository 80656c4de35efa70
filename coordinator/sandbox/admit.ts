// What a sandboxed recipe's plan may ask the coordinator itself to do, beside sending jobs to runners: read a file, watch folders,
// deliver a secret, tell somebody. Each is held against what was granted, and the job is made anew of what is left. sandbox.ts asks.
import { createHash } from "node:crypto";
import { dirname } from "node:path";
import type { ConditionElsewhere, FunctionElsewhere } from "../elsewhere.ts";
import type { PlanJob } from "../plan-job.ts";
import type { Notify } from "../recipe/notify.ts";
import type { StandardSchema } from "../recipe/schema.ts";
import { secret } from "../recipe/secret.ts";
import { anchored } from "../touched.ts";
import { denied, isNamed, isWithin, realPath, type SandboxGrants } from "./grants.ts";
import type { WireJob, WireNotify } from "./wire-job.ts";

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
  const { drive, condition, output, notify, stdin, group, at: told, ...rest } = wire;
  const at = told && files.has(told.file) ? told : undefined;
  const here = (what: string, flag: string | undefined) => denied(`${what} (${wire.name})`, flag, at);
  const secrets = [...(wire.secrets ?? []), ...(wire.also ?? []).flatMap((place) => place.secrets ?? [])];
  for (const { from } of secrets)
    if (!isNamed(from, grants.secret)) throw here(`have the secret ${from} delivered`, `--allow-secret=${from}`);
  for (const input of wire.inputs ?? []) {
    const { base } = anchored(dirname(recipe), input);
    if (!isWithin(base, readable)) throw here(`have ${base} watched`, `--allow-read=${base}`);
  }
  if (typeof stdin === "object" && !isWithin(stdin.file, readable))
    throw here(`read ${stdin.file}`, `--allow-read=${stdin.file}`);
  return {
    ...(rest as Omit<PlanJob, "drive" | "condition" | "output" | "notify" | "stdin" | "group" | "at">),
    ...(stdin === undefined ? {} : { stdin: typeof stdin === "string" ? stdin : { file: realPath(stdin.file) } }),
    ...(group ? { group: { ...group, name: ownGroup(recipe, group.name) } as NonNullable<PlanJob["group"]> } : {}),
    ...(notify ? { notify: notify.map((one) => admittedNotify(one, grants, here)) } : {}),
    ...(drive === undefined ? {} : { drive: options.drive(wire, drive) }),
    ...(condition === undefined ? {} : { condition: options.condition(wire, condition) }),
    ...(output === undefined ? {} : { output: output === "schema" ? options.schema(wire) : output }),
    ...(at ? { at } : {}),
  };
}

/** A command would run here, and with all of the coordinator's environment: nothing grants that. Throws SANDBOX_DENIED. */
export function admittedNotify(
  one: WireNotify,
  grants: SandboxGrants,
  wrong: (what: string, flag: string | undefined) => Error,
): Notify {
  if ("command" in one) throw wrong(`have ${one.command[0]} run here to tell somebody`, undefined);
  if (!grants.net) throw wrong("have something posted to an address", "--allow-net");
  if ("url" in one) return { on: one.on, url: one.url };
  if (!isNamed(one.secretUrl, grants.secret))
    throw wrong(`use the secret ${one.secretUrl}`, `--allow-secret=${one.secretUrl}`);
  return { on: one.on, url: secret(one.secretUrl) };
}

/** The recipe's alone: in a group of others it could keep their jobs waiting, or cancel them. */
const ownGroup = (recipe: string, name: string): string =>
  `sandbox:${createHash("sha256").update(recipe).digest("hex").slice(0, 16)}:${name}`;

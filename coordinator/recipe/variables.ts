// `env` of a job, of one of its places or of a service: texts, and secrets by their names. job() checks it, and plan-job.ts
// and check-container.ts make of it what a runner is asked for.
import * as v from "valibot";
import { Environment } from "../../protocol/command.ts";
import { isRecord, shown, type Wrong } from "./check.ts";
import { isSecret, type Secret } from "./secret.ts";

/** Names of variables, each with its value. */
export type Variables = Readonly<Record<string, string | Secret>>;

/** A variable whose value the coordinator has, in its own variable `from`. */
export interface SecretVariable {
  readonly name: string;
  readonly from: string;
}

/** Of a service, or of the job itself. */
export interface PlanSecret extends SecretVariable {
  readonly service?: string;
}

/** Throws what `wrong` makes of the first thing that cannot be; `option` names it. */
export function variablesOf(
  option: string,
  value: unknown,
  wrong: Wrong,
): { readonly env: Environment; readonly secrets: readonly SecretVariable[] } {
  if (value === undefined) return { env: [], secrets: [] };
  if (!isRecord(value)) throw wrong(`${option} must be an object of strings, not ${shown(value)}.`);
  const entries = Object.entries(value);
  for (const [name, one] of entries)
    if (typeof one !== "string" && !isSecret(one))
      throw wrong(`${option}.${name} must be a string, not ${one === null ? "null" : typeof one}.`);
  const named = entries.map(([name, one]): [string, string] => [name, typeof one === "string" ? one : ""]);
  const parsed = v.safeParse(Environment, named);
  if (!parsed.success) throw wrong(`${option} has a wrong entry: ${parsed.issues[0].message}.`);
  const secrets = entries.flatMap(([name, one]) => (isSecret(one) ? [{ name, from: one.variable }] : []));
  return { env: parsed.output.filter(([name]) => !isSecret(value[name])), secrets };
}

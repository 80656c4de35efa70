// `env` of a job, of one of its places or of a service: texts, and secrets by their names. job() checks it, and plan-job.ts
// and check-container.ts make of it what a runner is asked for.
import * as v from "valibot";
import { Environment } from "../../protocol/command.ts";
import { isRecord, shown, type Wrong } from "./check.ts";
import { type PlanSecret, planSecret } from "./plan-secret.ts";
import { isSecret, type Secret } from "./secret.ts";

/** Names of variables, each with its value. */
export type Variables = Readonly<Record<string, string | Secret>>;

/** Throws what `wrong` makes of the first thing that cannot be; `option` names it. */
export function variablesOf(
  option: string,
  value: unknown,
  wrong: Wrong,
): { readonly env: Environment; readonly secrets: readonly PlanSecret[] } {
  if (value === undefined) return { env: [], secrets: [] };
  if (!isRecord(value)) throw wrong(`${option} must be an object of strings, not ${shown(value)}.`);
  const entries = Object.entries(value);
  for (const [name, one] of entries)
    if (typeof one !== "string" && !isSecret(one))
      throw wrong(`${option}.${name} must be a string, not ${one === null ? "null" : typeof one}.`);
  const named = entries.map(([name, one]): [string, string] => [name, typeof one === "string" ? one : ""]);
  const parsed = v.safeParse(Environment, named);
  if (!parsed.success) throw wrong(`${option} has a wrong entry: ${parsed.issues[0].message}.`);
  const secrets = entries.flatMap(([name, one]) => (isSecret(one) ? [planSecret(one, name, "env")] : []));
  return { env: parsed.output.filter(([name]) => !isSecret(value[name])), secrets };
}

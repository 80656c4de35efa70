// The option `secrets` of a job and of its other places: those that it has as files. job() checks it, and plan-job.ts
// puts them beside those that are variables.
import { limits } from "../../protocol/limits.ts";
import { isRecord, shown, type Wrong } from "./check.ts";
import { type PlanSecret, planSecret } from "./plan-secret.ts";
import { isSecret, labelOf, type Secret } from "./secret.ts";

/** Throws what `wrong` makes of the first thing that cannot be. `env` is the option beside it. */
export function secretFilesOf(value: unknown, env: unknown, wrong: Wrong): readonly PlanSecret[] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrong(`secrets must be a list of what secret() gives, not ${shown(value)}.`);
  if (value.length > limits.secretsPerJob) throw wrong(`secrets has more than ${limits.secretsPerJob} entries.`);
  const names = new Set<string>();
  return value.map((one: unknown) => {
    if (!isSecret(one)) throw wrong(`secrets must be a list of what secret() gives, and one is ${shown(one)}.`);
    const { name } = one;
    if (name === undefined)
      throw wrong(`The secret ${labelOf(one)} needs a name for the variable of its file: secret({ name: "KEY", … }).`);
    if (names.has(name)) throw wrong(`secrets has ${name} twice.`);
    names.add(name);
    const variable = `${name}_FILE`;
    if (isRecord(env) && Object.hasOwn(env, variable))
      throw wrong(`secrets has ${name}, and env has ${variable}, too.`);
    return planSecret(one, name, "file");
  });
}

/** Of a command's input. */
export const secretOfStdin = (stdin: Secret): PlanSecret => planSecret(stdin, stdin.name ?? "STDIN", "stdin");

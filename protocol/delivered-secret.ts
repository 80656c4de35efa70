// A secret on its way to the runner of the job that asked for it, apart from all else of the request: so that the runner
// knows what it must not tell. messages.ts has it in a job's request.
import * as v from "valibot";
import { VariableName } from "./command.ts";
import { limits } from "./limits.ts";
import { Text } from "./primitives.ts";

/** As its recipe names it, and as a runner grants it. */
export const SecretName = v.pipe(
  v.string(),
  v.regex(/^(?!SORTIE(_|$))[A-Za-z_][A-Za-z0-9_]{0,199}$/, "a secret's name"),
);

/** Why a value cannot be a secret; it is not in the sentence. Undefined where it can. */
export function whyNoSecret(value: string): string | undefined {
  if (value.trim().length < limits.secretMinimumCharacters)
    return `is shorter than ${limits.secretMinimumCharacters} characters, and could not be kept out of what jobs print`;
  if (Buffer.byteLength(value) > limits.secretBytes) return `is longer than ${limits.secretBytes} bytes`;
  return value.includes("\0") ? "holds a NUL character" : undefined;
}

/** No issue of it tells the value. */
const value = v.pipe(
  Text,
  v.check((text) => whyNoSecret(text) === undefined, "a secret of a length that can be hidden"),
);
const variable = v.pipe(
  VariableName,
  v.check((name) => !name.startsWith("SORTIE_"), "no SORTIE_ variable: Sortie sets those itself"),
);

export const DeliveredSecret = v.variant("as", [
  /** The variable's value, of the job or of one of its services. */
  v.strictObject({ as: v.literal("env"), name: SecretName, value, variable, service: v.optional(v.string()) }),
  /** A file of the job's own, whose path the variable NAME_FILE has. */
  v.strictObject({ as: v.literal("file"), name: SecretName, value }),
  /** It comes as stdin, and stands here so that it is known. */
  v.strictObject({ as: v.literal("stdin"), name: SecretName, value }),
]);
export type DeliveredSecret = v.InferOutput<typeof DeliveredSecret>;

export const DeliveredSecrets = v.pipe(
  v.array(DeliveredSecret),
  v.maxLength(limits.secretsPerJob),
  v.check(
    (secrets) => secrets.reduce((sum, one) => sum + Buffer.byteLength(one.value), 0) <= limits.secretsBytes,
    `secrets of at most ${limits.secretsBytes} bytes together`,
  ),
);

/** The variable that a secret sets; undefined where it sets none. */
export function variableOf(secret: DeliveredSecret): string | undefined {
  if (secret.as === "env") return secret.variable;
  return secret.as === "file" ? `${secret.name}_FILE` : undefined;
}

// What a job runs: its commands and their environment, as schemas.
import * as v from "valibot";
import { limits } from "./limits.ts";
import { PositiveInteger, Text } from "./primitives.ts";

const argv = v.pipe(
  v.array(Text),
  v.minLength(1),
  v.check((list) => list[0] !== "", "a program's name"),
);

/** A command: argv starts the program itself, without a shell; a string runs with /bin/sh -c. */
export const Command = v.union([v.strictObject({ argv }), v.strictObject({ shell: Text })]);
export type Command = v.InferOutput<typeof Command>;

/** The time this step may take, from its start; the job's own goes on beside it. */
const timeoutMs = v.optional(v.pipe(PositiveInteger, v.maxValue(limits.timeoutMaximumMs)));

/** A command as one step of a job. */
export const Step = v.union([v.strictObject({ argv, timeoutMs }), v.strictObject({ shell: Text, timeoutMs })]);
export type Step = v.InferOutput<typeof Step>;

export const VariableName = v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "a variable's name"));

/** Pairs rather than an object: no name is special (`__proto__`), and order and doubles can be seen. */
export const Environment = v.pipe(
  v.array(v.strictTuple([VariableName, Text])),
  v.maxLength(limits.variablesPerJob),
  v.check((pairs) => new Set(pairs.map(([name]) => name)).size === pairs.length, "each variable once"),
  v.check(
    (pairs) => !pairs.some(([name]) => name.startsWith("SORTIE_")),
    "no SORTIE_ variable: Sortie sets those itself",
  ),
);
export type Environment = v.InferOutput<typeof Environment>;

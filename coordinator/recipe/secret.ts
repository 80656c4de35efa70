// `secret()`: a value that a recipe names and does not hold. secrets.ts reads it before a run begins.

import * as v from "valibot";
import { SecretName } from "../../protocol/delivered-secret.ts";
import { checkNames, isRecord, shown, type Wrong } from "./check.ts";
import { callSite } from "./location.ts";
import { RecipeError } from "./recipe-error.ts";

const SECRET = Symbol.for("sortie.secret");

/** Where the coordinator has a secret's value from. */
export type SecretSource =
  /** A variable of its own environment. */
  | { readonly env: string }
  /** A file of its machine: a path relative to the recipe's folder, or an absolute one. */
  | { readonly file: string }
  /** What a command prints. */
  | { readonly command: readonly [program: string, ...arguments: string[]] };

/** A secret that is not simply a variable of the coordinator's environment. */
export type SecretOptions = SecretSource & {
  /**
   * What the secret is called: by plans and errors, by the grants of a runner, and in the name of its file's variable.
   * Letters, digits and `_`, a letter first. Default: the variable it is read from, or else the one that it is given as.
   */
  readonly name?: string;
};

/** What `secret()` gives: no text, and of no use but where an option takes a secret. */
export interface Secret {
  readonly [SECRET]: true;
  readonly name: string | undefined;
  readonly source: SecretSource;
}

/**
 * A value that the coordinator reads once a run, before it begins, and gives to the runner of the job that asks for it and
 * to no other: for `env` of a job or of a service, for `secrets` (as a file) and `stdin` of a job, and for the `url` of
 * `notify`. It is in no plan, record, event or error, and is taken out of what the job prints.
 *
 * By its name it is a variable of the coordinator's environment. Otherwise it is a file, or what a command prints: argv,
 * run without a shell in the recipe's folder, within a minute. Of one line, a newline at its end is no part of the value;
 * a value of several lines stays as it is. At least 6 characters and at most 32 KiB, without NUL.
 * @example env: { TOKEN: secret("DEPLOY_TOKEN") }
 * @example secrets: [secret("DEPLOY_TOKEN")] // its path is in $DEPLOY_TOKEN_FILE
 * @example secrets: [secret({ name: "SSH_KEY", file: "keys/deploy" })]
 * @example env: { TOKEN: secret({ command: ["op", "read", "op://ci/deploy/token"] }) }
 */
export function secret(source: string | SecretOptions): Secret {
  const location = callSite(secret);
  const wrong: Wrong = (message) => new RecipeError(message, location, "job");
  const checked = checkedSecret(source, wrong);
  const noText = (): never => {
    throw wrong(
      `The secret ${labelOf(checked)} is no text: it can be a value of env, stdin, one of secrets, and nothing else.`,
    );
  };
  const one = { [SECRET]: true as const, ...checked };
  for (const name of ["toString", "toJSON"]) Object.defineProperty(one, name, { value: noText, enumerable: false });
  return Object.freeze(one);
}

/** @internal */
export const isSecret = (value: unknown): value is Secret => isRecord(value) && SECRET in value;

/** @internal What people are told of it. */
export function labelOf({ name, source }: Pick<Secret, "name" | "source">): string {
  if (name !== undefined) return name;
  if ("env" in source) return source.env;
  return "file" in source ? `of the file ${source.file}` : `of the command ${source.command[0]}`;
}

const SOURCES = ["env", "file", "command"];

function checkedSecret(given: unknown, wrong: Wrong): { name: string | undefined; source: SecretSource } {
  if (typeof given === "string") {
    if (v.is(SecretName, given)) return { name: given, source: { env: given } };
    throw wrong("secret() takes the name of an environment variable: letters, digits and _, a letter first.");
  }
  if (!isRecord(given)) throw wrong(`secret() takes a name, or an object with file or command, not ${shown(given)}.`);
  checkNames("secret()", given, ["name", ...SOURCES], wrong);
  const { name } = given;
  if (name !== undefined && !v.is(SecretName, name))
    throw wrong("secret()'s name must be letters, digits and _, a letter first.");
  const sources = SOURCES.filter((source) => given[source] !== undefined);
  if (sources.length !== 1) throw wrong("secret() takes one of env, file and command.");
  const { env, file, command } = given;
  if (env !== undefined) {
    if (v.is(SecretName, env)) return { name: name ?? env, source: { env } };
    throw wrong("secret()'s env must be the name of an environment variable.");
  }
  if (file !== undefined) {
    if (typeof file === "string" && file !== "" && !file.includes("\0")) return { name, source: { file } };
    throw wrong(`secret()'s file must be a path, not ${shown(file)}.`);
  }
  if (
    !Array.isArray(command) ||
    !command.every((part) => typeof part === "string" && !part.includes("\0")) ||
    !command[0]
  )
    throw wrong("secret()'s command must be argv: a list of strings, the program first.");
  return { name, source: { command: Object.freeze([...command]) as unknown as [string] } };
}

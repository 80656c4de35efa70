// `secret("NAME")`: a value that a recipe names and does not hold. secrets.ts reads it where a job is dispatched.
import { isRecord } from "./check.ts";
import { callSite } from "./location.ts";
import { RecipeError } from "./recipe-error.ts";

const SECRET = Symbol.for("sortie.secret");

/** What `secret()` gives. */
export interface Secret {
  readonly [SECRET]: true;
  /** The variable of the coordinator's environment that has the value. */
  readonly variable: string;
}

/**
 * A value out of the coordinator's environment, for `env` of a job or of a service, and for the `url` of `notify`: read when it
 * is needed, and never shown or kept. A run does not begin where it is not set, or empty.
 * @example env: { TOKEN: secret("DEPLOY_TOKEN") }
 */
export function secret(variable: string): Secret {
  const location = callSite(secret);
  if (typeof variable !== "string" || !/^[A-Za-z_][A-Za-z0-9_]*$/.test(variable))
    throw new RecipeError(
      "secret() takes the name of an environment variable: letters, digits and _, a letter first.",
      location,
      "job",
    );
  const noText = (): never => {
    throw new RecipeError(
      `The secret ${variable} is no text: it can be a value of env, and nothing else.`,
      location,
      "job",
    );
  };
  return Object.freeze(
    Object.defineProperty({ [SECRET]: true as const, variable }, "toString", { value: noText, enumerable: false }),
  );
}

/** @internal */
export const isSecret = (value: unknown): value is Secret => isRecord(value) && SECRET in value;

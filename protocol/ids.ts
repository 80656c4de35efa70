// Ids that people type: random first, so that a short prefix is enough to name one.
import { randomBytes } from "node:crypto";
import * as v from "valibot";

const alphabet = "0123456789abcdefghjkmnpqrstvwxyz";

/** Twelve characters of Crockford's base32, lower case: 60 random bits. */
export function newId(): string {
  return Array.from(randomBytes(12), (byte) => alphabet[byte & 31]).join("");
}

const id = v.pipe(v.string(), v.regex(/^[0-9a-hjkmnp-tv-z]{12}$/, "an id of 12 characters"));

/** One execution of a recipe. */
export const RunId = v.pipe(id, v.brand("RunId"));
export type RunId = v.InferOutput<typeof RunId>;

/** One attempt of one job, unique everywhere: what a runner and a log file know it by. */
export const AttemptId = v.pipe(id, v.brand("AttemptId"));
export type AttemptId = v.InferOutput<typeof AttemptId>;

/** A job's name within its recipe. No slash (RUN/JOB separates by it), no control characters, no leading punctuation. */
export const JobName = v.pipe(
  v.string(),
  v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.:=,[\]-]{0,99}$/, "a job's name: letters, digits and _.:=,[]- (at most 100)"),
  v.brand("JobName"),
);
export type JobName = v.InferOutput<typeof JobName>;

export const newRunId = (): RunId => newId() as RunId;
export const newAttemptId = (): AttemptId => newId() as AttemptId;

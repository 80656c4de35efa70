// What job() checks of its options: each function throws an error that names the option and says what it wants.
import * as v from "valibot";
import { closest } from "../../protocol/closest.ts";
import { parseDuration } from "../../protocol/duration.ts";
import { limits } from "../../protocol/limits.ts";
import { parseSize } from "../../protocol/sizes.ts";
import { isShellCommand } from "./shell.ts";

/** Makes the error, at the recipe's line that called job(). */
export type Wrong = (message: string) => Error;

export const isRecord = (value: unknown): value is Record<PropertyKey, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** `what` has no options but those named. */
export function checkNames(
  what: string,
  options: object,
  names: readonly string[],
  wrong: Wrong,
  kind = "option",
): void {
  for (const name of Object.keys(options)) {
    if (names.includes(name)) continue;
    const near = closest(name, names);
    throw wrong(
      `${what} has no ${kind} ${JSON.stringify(name)}; ${near ? `did you mean ${near}?` : `it has ${names.join(", ")}.`}`,
    );
  }
}

/** The value as the schema has it; `wants` says what that is. */
export function accept<Schema extends v.GenericSchema>(
  schema: Schema,
  option: string,
  value: unknown,
  wants: string,
  wrong: Wrong,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, value);
  if (parsed.success) return parsed.output;
  throw wrong(`${option} must be ${wants}, not ${shown(value)}.`);
}

export function sizeOf(option: string, value: unknown, wrong: Wrong): number {
  const bytes = parseSize(value);
  if (bytes !== undefined) return bytes;
  throw wrong(`${option} must be bytes or a size such as "512m" or "2g", not ${shown(value)}.`);
}

export function checkRun(run: unknown, wrong: Wrong): void {
  if (typeof run === "string") {
    if (run.trim() === "") throw wrong("run is an empty command.");
    return;
  }
  if (isShellCommand(run)) return;
  if (!Array.isArray(run)) throw wrong("run must be a shell string, an sh template, argv, or a list of steps.");
  if (run.length === 0) throw wrong("run is an empty list.");
  if (isStrings(run)) {
    const [program = ""] = run;
    if (program.trim() === "") throw wrong("run has no program at the beginning of its argv.");
    if (/\s/.test(program)) {
      throw wrong(
        `A list of strings is argv, and there is no program ${JSON.stringify(program)}; for several steps write [sh\`…\`, sh\`…\`].`,
      );
    }
    return;
  }
  const odd = run.findIndex((part) => typeof part !== "string");
  if (run.every((part) => typeof part !== "object" || part === null))
    throw wrong(`A list of strings is argv, and number ${odd + 1} of run is ${shown(run[odd])}.`);
  for (const [index, step] of run.entries()) {
    if (isShellCommand(step)) continue;
    if (!Array.isArray(step) || !isStrings(step) || (step[0] ?? "") === "")
      throw wrong(
        `Step ${index + 1} of run must be an sh template or argv${typeof step === "string" ? `: write sh\`${step}\`` : ""}.`,
      );
  }
}

export function checkNeeds(needs: unknown, isNeed: (value: unknown) => boolean, wrong: Wrong): void {
  if (needs === undefined) return;
  if (!Array.isArray(needs)) throw wrong("needs must be a list of jobs (the values that job() gave, not their names).");
  // An index loop sees the holes of a list too.
  for (let index = 0; index < needs.length; index++) {
    if (isNeed(needs[index])) continue;
    throw wrong(
      needs[index] === undefined
        ? `needs must be a list of jobs, and number ${index + 1} is undefined: is that job made further down?`
        : `needs must be a list of jobs (the values that job() gave, not their names), and number ${index + 1} is ${shown(needs[index])}.`,
    );
  }
}

export function checkStrings(option: string, value: unknown, wrong: Wrong): void {
  if (value === undefined) return;
  if (!isRecord(value)) throw wrong(`${option} must be an object of strings, not ${shown(value)}.`);
  for (const [name, text] of Object.entries(value)) {
    if (typeof text !== "string")
      throw wrong(`${option}.${name} must be a string, not ${text === null ? "null" : typeof text}.`);
  }
}

export function checkInputs(value: unknown, wrong: Wrong): void {
  if (value === undefined) return;
  if (!Array.isArray(value) || value.length > limits.inputsPerJob)
    throw wrong(`inputs must be a list of at most ${limits.inputsPerJob} globs, not ${shown(value)}.`);
  for (const input of value)
    if (typeof input !== "string" || input === "" || input.startsWith("/"))
      throw wrong(`inputs must be globs relative to the recipe's folder, and one is ${shown(input)}.`);
}

export function checkOutputs(value: unknown, wrong: Wrong): void {
  if (value === undefined) return;
  if (!isRecord(value)) throw wrong(`outputs must be an object of globs, each under a name, not ${shown(value)}.`);
  const named = Object.entries(value);
  if (named.length > limits.outputsPerJob) throw wrong(`outputs has more than ${limits.outputsPerJob} names.`);
  for (const [name, globs] of named) {
    if (!/^[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}$/.test(name))
      throw wrong(`outputs has a name that cannot be: ${JSON.stringify(name)}; letters, digits and _.- (at most 63).`);
    const list = Array.isArray(globs) ? globs : [globs];
    if (list.length === 0 || list.length > limits.outputsPerJob)
      throw wrong(`outputs.${name} must have from 1 to ${limits.outputsPerJob} globs.`);
    for (const glob of list)
      if (typeof glob !== "string" || glob === "" || glob.startsWith("/") || glob.split("/").includes(".."))
        throw wrong(`outputs.${name} must be globs of files in the job's directory, and one is ${shown(glob)}.`);
  }
}

export function checkFlag(option: string, value: unknown, wrong: Wrong): void {
  if (value !== undefined && typeof value !== "boolean")
    throw wrong(`${option} must be true or false, not ${shown(value)}.`);
}

export function checkDuration(option: string, value: unknown, wrong: Wrong): void {
  if (value === undefined || parseDuration(value) !== undefined) return;
  throw wrong(`${option} must be milliseconds or a duration such as "90s" or "10m", not ${shown(value)}.`);
}

const isStrings = (list: readonly unknown[]): list is string[] => list.every((part) => typeof part === "string");

/** A wrong value, for an error: what JSON cannot say by its type. */
export function shown(value: unknown): string {
  if (typeof value === "string") return JSON.stringify(value.slice(0, 100));
  if (Array.isArray(value)) return "a list";
  return typeof value === "number" || value === null ? String(value) : typeof value;
}

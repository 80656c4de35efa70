// What the output of a job is to the jobs that see it: of a command what its log holds, as its option says; of a function
// what it gave, as JSON. execute.ts asks once the job has passed.
import { messageOf } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import type { OutputAs } from "./recipe/job.ts";
import { issueText, type SchemaResult } from "./recipe/schema.ts";
import { readLog } from "./store/read-log.ts";

/** A value of JSON, or undefined; or why there is none. */
export type Output = { readonly value: unknown } | { readonly problem: string };

const tooLong = (what: string): Output => ({
  problem: `${what} is longer than ${limits.outputBytes / 1024 / 1024} MiB, the most that other jobs can get of it`,
});

/** Of a log that is whole. */
export async function outputOfLog(as: OutputAs, path: string): Promise<Output> {
  const pieces: Uint8Array[] = [];
  let length = 0;
  for await (const part of readLog(path)) {
    if (part.kind !== "output" || part.stream !== "stdout") continue;
    length += part.bytes.length;
    if (length > limits.outputBytes) return tooLong("its output");
    pieces.push(part.bytes);
  }
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(pieces));
  } catch {
    return { problem: "its output is not UTF-8" };
  }
  if (as === "text") return { value: text.replace(/\r?\n$/, "") };
  if (as === "lines") return { value: Object.freeze(text === "" ? [] : text.replace(/\r?\n$/, "").split(/\r?\n/)) };
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    return { problem: `its output is not JSON: ${(error as Error).message}` };
  }
  if (as === "json") return asJson(json, "its output");
  let checked: SchemaResult<unknown>;
  try {
    checked = await as["~standard"].validate(json);
  } catch (error) {
    return { problem: `its output's schema threw ${messageOf(error)}` };
  }
  if (!checked.issues) return asJson(checked.value, "what its output's schema made");
  const [issue] = checked.issues;
  return { problem: `its output is not what its schema takes: ${issue ? issueText(issue) : ""}` };
}

export const outputOfFunction = (given: unknown): Output =>
  given === undefined ? { value: undefined } : asJson(given, "what its function gave");

/** A copy that nobody can change, as others would get it from a run that is gone on with. */
function asJson(value: unknown, what: string): Output {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (error) {
    return { problem: `${what} cannot be JSON: ${messageOf(error)}` };
  }
  if (text === undefined) return { problem: `${what} cannot be JSON: a ${typeof value}` };
  if (Buffer.byteLength(text) > limits.outputBytes) return tooLong(what);
  if (isDeeper(JSON.parse(text), limits.outputDepth)) return { problem: `${what} is nested too deeply` };
  return { value: JSON.parse(text, (_key, part: unknown) => Object.freeze(part)) };
}

const isDeeper = (value: unknown, depth: number): boolean =>
  typeof value === "object" &&
  value !== null &&
  (depth === 0 || Object.values(value).some((part) => isDeeper(part, depth - 1)));

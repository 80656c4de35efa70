// The params of a recipe: texts that were given, made into what the recipe's schema makes of them. The loader calls it
// before it calls the recipe's `jobs`.

import { closest } from "../../protocol/closest.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { oneLine } from "../../protocol/text.ts";
import type { GivenParam } from "../given-params.ts";
import type { Location } from "./location.ts";
import { keyOf, type SchemaIssue, type StandardSchema } from "./schema.ts";
import { fieldsOf } from "./schema-fields.ts";

/** Of many things that are wrong. */
const MOST_TOLD = 5;

/** What was given, and what the recipe takes from the environment besides. Throws RECIPE_PARAMS. */
export function withEnvironment(
  given: readonly GivenParam[],
  declared: Readonly<Record<string, string | undefined>>,
  environment: NodeJS.ProcessEnv,
  at: Location | undefined,
): GivenParam[] {
  const all = [...given];
  for (const [key, variable] of Object.entries(declared)) {
    const text = variable === undefined ? undefined : environment[variable];
    if (text === undefined || given.some((param) => param.key === key)) continue;
    if (text.length > limits.paramBytes)
      throw wrongParams(`${key}, from the environment's ${variable}, is longer than ${limits.paramBytes} bytes.`, at);
    all.push({ key, text, from: "environment" });
  }
  return all;
}

/**
 * What the schema makes of the texts. A text that it does not take as it is, and that is JSON of something else than a
 * string, is tried as that. Rejects with RECIPE_PARAMS.
 */
export async function validateParams(
  schema: StandardSchema,
  given: readonly GivenParam[],
  at: Location | undefined,
): Promise<unknown> {
  const fields = fieldsOf(schema);
  const keys = fields?.map(({ key }) => key);
  for (const { key } of given) if (keys && !keys.includes(key)) throw unknownKey(key, keys, at);

  const texts = Object.fromEntries(given.map(({ key, text }) => [key, text]));
  const first = await schema["~standard"].validate(texts);
  if (!first.issues) return passedOn(first.value, given, keys, at);

  const refused = new Set(first.issues.map(keyOf));
  const converted = new Map(
    given
      .filter(({ key }) => refused.has(key))
      .flatMap(({ key, text }) => {
        const value = parsed(text);
        return value === undefined || typeof value === "string" ? [] : [[key, value] as const];
      }),
  );
  if (converted.size === 0) throw refusal(first.issues, given, converted, [], at);
  const second = await schema["~standard"].validate({ ...texts, ...Object.fromEntries(converted) });
  if (second.issues) throw refusal(second.issues, given, converted, first.issues, at);
  return passedOn(second.value, given, keys, at);
}

/** Where the schema's keys cannot be known, what it dropped is what it does not know. */
function passedOn(
  value: unknown,
  given: readonly GivenParam[],
  keys: readonly string[] | undefined,
  at: Location | undefined,
): unknown {
  const dropped = given.find(({ key }) => !(typeof value === "object" && value !== null && Object.hasOwn(value, key)));
  if (!keys && dropped) throw unknownKey(dropped.key, [], at);
  return value;
}

function unknownKey(key: string, keys: readonly string[], at: Location | undefined): SortieError {
  const near = closest(key, keys);
  const known = keys.length === 0 ? "" : `; it has ${keys.join(", ")}`;
  return wrongParams(
    `The recipe has no param ${JSON.stringify(key)}${near === undefined ? known : `; did you mean ${near}?`}`.replace(
      /([^?])$/,
      "$1.",
    ),
    at,
  );
}

function refusal(
  issues: readonly SchemaIssue[],
  given: readonly GivenParam[],
  converted: ReadonlyMap<string, unknown>,
  asText: readonly SchemaIssue[],
  at: Location | undefined,
): SortieError {
  const told = issues.slice(0, MOST_TOLD).map((issue) => {
    const key = keyOf(issue);
    const param = given.find((one) => one.key === key);
    if (key === undefined) return hidden(issue.message, given, converted);
    if (!param) return `${key} is not given: ${hidden(issue.message, given, converted)}`;
    const value = param.from === "option" ? `=${JSON.stringify(param.text)}` : ` (from the ${sourceOf(param)})`;
    const before = converted.has(key) ? asText.find((one) => keyOf(one) === key) : undefined;
    const also = before && before.message !== issue.message ? `; as text: ${before.message}` : "";
    return `${key}${value}: ${hidden(`${issue.message}${also}`, given, converted)}`;
  });
  if (issues.length > MOST_TOLD) told.push(`${issues.length - MOST_TOLD} more`);
  return wrongParams(`The recipe does not take these params: ${told.join("; ").replace(/[.\s]+$/, "")}.`, at);
}

const sourceOf = ({ from }: GivenParam): string => (from === "file" ? "file given" : "environment");

/** The message without what came from a file or the environment: schemas repeat what they were given. */
function hidden(message: string, given: readonly GivenParam[], converted: ReadonlyMap<string, unknown>): string {
  const secret = given
    .filter(({ from }) => from !== "option")
    .flatMap(({ key, text }) => [text, ...leavesOf(converted.get(key))])
    .filter((text) => text !== "")
    .sort((a, b) => b.length - a.length);
  let safe = message;
  for (const text of secret) safe = safe.replaceAll(JSON.stringify(text).slice(1, -1), "…").replaceAll(text, "…");
  return oneLine(safe);
}

function leavesOf(value: unknown): string[] {
  if (value === undefined) return [];
  if (typeof value !== "object" || value === null) return [String(value)];
  return Object.values(value).flatMap(leavesOf);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** RECIPE_PARAMS, at the recipe's own line. */
export const wrongParams = (message: string, at: Location | undefined): SortieError =>
  new SortieError("RECIPE_PARAMS", message, at ? { at } : {});

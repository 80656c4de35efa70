// `--set key=value` and `--set-file key=path`, as `coordinator run` takes them, and as they are told of a run.

import { isUtf8 } from "node:buffer";
import { readFileSync } from "node:fs";
import * as v from "valibot";
import { SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { quote } from "../protocol/quote.ts";

/** One param as it was given, and kept for `coordinator resume`. Only what `--set` gave is shown. */
export const GivenParam = v.strictObject({
  key: v.string(),
  text: v.string(),
  from: v.picklist(["option", "file", "environment"]),
});
export type GivenParam = v.InferOutput<typeof GivenParam>;

export interface ParamOptions {
  readonly set: string | readonly string[] | undefined;
  readonly "set-file": string | readonly string[] | undefined;
}

export const paramOptions = {
  set: { type: "string", requiresArg: true, describe: "A param of the recipe, KEY=VALUE; may be given again" },
  "set-file": {
    type: "string",
    requiresArg: true,
    describe: "A param whose value is a file's text, KEY=PATH; likewise",
  },
} as const;

/** Throws USAGE. */
export function givenParams(options: ParamOptions): GivenParam[] {
  const given = [
    ...listOf(options.set).map((pair): GivenParam => {
      const [key, text] = split("set", "VALUE", pair);
      return { key, text: checked(`--set ${key}`, text), from: "option" };
    }),
    ...listOf(options["set-file"]).map((pair): GivenParam => {
      const [key, path] = split("set-file", "PATH", pair);
      return { key, text: checked(`The file ${path}`, textOf(path)), from: "file" };
    }),
  ];
  const double = given.find(({ key }, index) => given.findIndex((one) => one.key === key) !== index);
  if (double) throw new SortieError("USAGE", `The param ${double.key} is given twice.`);
  return given;
}

/** As a person reads it: values that may be meant for few are left out. */
export const describeParam = ({ key, text, from }: GivenParam): string =>
  from === "option" ? `${key}=${quote(text)}` : `${key} (from ${from === "file" ? "a file" : "the environment"})`;

function listOf(value: string | readonly string[] | undefined): readonly string[] {
  return value === undefined ? [] : typeof value === "string" ? [value] : value;
}

function split(option: string, what: string, pair: string): [string, string] {
  const at = pair.indexOf("=");
  if (at <= 0) throw new SortieError("USAGE", `--${option} takes KEY=${what}, not ${JSON.stringify(pair)}.`);
  return [pair.slice(0, at), pair.slice(at + 1)];
}

/** Without the newline that ends a text file. */
function textOf(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new SortieError("USAGE", `The file ${path} cannot be read: ${(error as Error).message}.`);
  }
  if (!isUtf8(bytes)) throw new SortieError("USAGE", `The file ${path} is not UTF-8 text.`);
  return bytes.toString().replace(/\r?\n$/, "");
}

function checked(what: string, text: string): string {
  if (Buffer.byteLength(text) <= limits.paramBytes) return text;
  throw new SortieError("USAGE", `${what} is longer than ${limits.paramBytes} bytes.`);
}

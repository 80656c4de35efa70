// Finds the person's own place in what went wrong: a frame of a stack, or a line of the source.
import { readFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { framesOf, isPackage, type Location } from "./location.ts";

/** Where Sortie's own code is: the bundle, or this folder. */
const OWN = import.meta.dirname.replace(/\/chunks$/, "");

export const isOwn = (file: string): boolean => file.startsWith(`${OWN}/`);

/** The topmost frame that is the recipe's, or else in a file of its project: neither a package's, nor Sortie's. */
export function ownFrame(stack: string, file: string): Location | undefined {
  const frames = framesOf(stack);
  return (
    frames.find((frame) => frame.file === file) ?? frames.find((frame) => !isPackage(frame.file) && !isOwn(frame.file))
  );
}

/** The line of the first match, from 1; 1 where there is none. */
export function lineOf(source: string, pattern: RegExp): number {
  const index = pattern.exec(source)?.index ?? 0;
  return source.slice(0, index).split("\n").length;
}

/** Where a file imports what could not be found, and as what. */
export function importOf(
  missing: string,
  importer: string,
): { readonly specifier: string; readonly at: Location } | undefined {
  let source: string;
  try {
    source = readFileSync(importer, "utf8");
  } catch {
    return undefined;
  }
  for (const match of source.matchAll(/\b(?:from|import|require)\s*\(?\s*(["'])(.*?)\1/g)) {
    const specifier = match[2] ?? "";
    const isIt =
      specifier === missing ||
      specifier.startsWith(`${missing}/`) ||
      (specifier.startsWith(".") && resolve(dirname(importer), specifier) === missing);
    if (!isIt) continue;
    const before = source.slice(0, match.index + match[0].length - specifier.length - 2).split("\n");
    return {
      specifier,
      at: { file: importer, line: before.length, column: (before.at(-1) ?? "").length + 1 },
    };
  }
  return undefined;
}

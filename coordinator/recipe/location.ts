// Where in a person's own file something was written, read off a stack; and what the text there says.
import { fileURLToPath } from "node:url";

export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Frames looked through for the person's own, when the topmost is a package's. */
const DEEP = 30;

/** Where `called` was called from: in the person's own code, where that is on the stack. */
export function callSite(called: (...values: never[]) => unknown): Location | undefined {
  // One frame is nearly always enough, and a recipe may make 10,000 jobs.
  const [nearest] = stackOf(called, 1);
  if (!nearest || !isPackage(nearest.file)) return nearest;
  return stackOf(called, DEEP).find((frame) => !isPackage(frame.file)) ?? nearest;
}

function stackOf(called: (...values: never[]) => unknown, frames: number): Location[] {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = frames;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, called);
  Error.stackTraceLimit = limit;
  return framesOf(holder.stack ?? "");
}

export const isPackage = (file: string): boolean => file.includes("/node_modules/");

/** The frames of a stack that are in files, top first. A path may hold spaces and parentheses. */
export function framesOf(stack: string): Location[] {
  const frames: Location[] = [];
  for (const line of stack.split("\n")) {
    const match = /^\s*at (?:.*? \()??(?:async )?((?:file:\/\/)?\/.*):(\d+):(\d+)\)?$/.exec(line);
    if (!match?.[1]) continue;
    const [, place, row, column] = match;
    frames.push({ file: toPath(place), line: Number(row), column: Number(column) });
  }
  return frames;
}

function toPath(place: string): string {
  const path = place.replace(/\?.*$/, "");
  if (!path.startsWith("file:")) return path;
  try {
    return fileURLToPath(path);
  } catch {
    return path;
  }
}

/** The name that is given to what begins at the location: `build` in `const build = job(` and in `build: job(`. */
export function nameAt(source: string, { line, column }: Location): string | undefined {
  const before = source.split("\n", line)[line - 1]?.slice(0, column - 1) ?? "";
  return (
    /\b(?:const|let|var)\s+([\w$]+)\s*(?::[^=]+)?=\s*$/.exec(before)?.[1] ??
    /(?:^|[{,\s])["']?([\w$.=-]+)["']?\s*:\s*$/.exec(before)?.[1]
  );
}

// Where in a person's own file something was written, read off a stack.
import { fileURLToPath } from "node:url";

export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Where `called` was called from. */
export function callSite(called: (...values: never[]) => unknown): Location | undefined {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 1;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, called);
  Error.stackTraceLimit = limit;
  return framesOf(holder.stack ?? "")[0];
}

/** The frames of a stack that are in files, top first. */
export function framesOf(stack: string): Location[] {
  const frames: Location[] = [];
  for (const line of stack.split("\n")) {
    const match = /^\s*at (?:.*\()?((?:file:\/\/)?\/[^()]*?):(\d+):(\d+)\)?$/.exec(line);
    if (!match?.[1]) continue;
    const [, place, row, column] = match;
    frames.push({ file: toPath(place), line: Number(row), column: Number(column) });
  }
  return frames;
}

function toPath(place: string): string {
  if (!place.startsWith("file:")) return place.replace(/\?.*$/, "");
  try {
    return fileURLToPath(place.replace(/\?.*$/, ""));
  } catch {
    return place;
  }
}

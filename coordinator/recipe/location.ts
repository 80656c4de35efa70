// Where in a person's own file something was written: read off a stack, past our own and others' modules.
import { fileURLToPath } from "node:url";

export interface Location {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Stacks deeper than this are of helpers within helpers. */
const FRAMES = 30;

/** Where the function that calls this one was called from, outside of this module's own folder or bundle. */
export function callerLocation(): Location | undefined {
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = FRAMES;
  const { stack = "" } = new Error("location");
  Error.stackTraceLimit = limit;
  const frames = framesOf(stack);
  const own = frames[0]?.file;
  const ownFolder = own?.slice(0, own.lastIndexOf("/") + 1) ?? "";
  return frames.find((frame) => frame.file !== own && !(ownFolder.endsWith("/coordinator/recipe/") && frame.file.startsWith(ownFolder)));
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

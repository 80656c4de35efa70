// What a job's function failed with, as people are told. drive.ts and function-call.ts ask.
import { messageOf, SortieError } from "../protocol/errors.ts";
import { isCommandError } from "./recipe/command-error.ts";
import { ownFrame } from "./recipe/own-place.ts";

/** What a function in another process failed with: its message is the whole of it. */
export class ToldFailure extends Error {}

/** In one sentence, with the recipe's line. */
export function describeFailure(error: unknown, recipe: string): string {
  if (isCommandError(error) || error instanceof ToldFailure) return error.message;
  if (error instanceof SortieError) return `${error.message} ${error.hint}`;
  if (!(error instanceof Error)) return `its function threw ${messageOf(error)}`;
  const at = ownFrame(error.stack ?? "", recipe);
  return `${error.name}: ${error.message}${at ? ` (${at.file}:${at.line}:${at.column})` : ""}`;
}

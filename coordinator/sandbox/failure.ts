// What a recipe failed with in its own process, as a message, and as the error that the coordinator makes of it.
import { asSortieError, isErrorCode, SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { oneLine } from "../../protocol/text.ts";
import { describeFailure, ToldFailure } from "../function-failure.ts";
import { CommandError, isCommandError } from "../recipe/command-error.ts";
import { ownFrame } from "../recipe/own-place.ts";
import { denied } from "./grants.ts";
import type { Failure, Refused, WireError } from "./messages.ts";

/** Causes of causes that are looked at. */
const DEEP = 5;

const words = (text: unknown): string => String(text).slice(0, limits.sandboxWordsCharacters);

/** In the recipe's process: `file` is the recipe's. */
export function failureOf(error: unknown, file: string): Failure {
  const refusal = refusalIn(error, DEEP);
  if (refusal) {
    const at = ownFrame(refusal.stack, file) ?? ownFrame(error instanceof Error ? (error.stack ?? "") : "", file);
    return { kind: "refused", refused: refusal.refused, ...(at ? { at } : {}) };
  }
  if (isCommandError(error)) return { kind: "command", message: words(error.message), exit: error.exit };
  if (!(error instanceof SortieError)) return { kind: "told", message: words(describeFailure(error, file)) };
  const { code, message, hint, at } = error;
  return { kind: "coded", code, message: words(message), hint: words(hint), ...(at ? { at } : {}) };
}

/** Node's own refusal, also where it is what something else failed for, as with fetch(). */
function refusalIn(error: unknown, deep: number): { readonly refused: Refused; readonly stack: string } | undefined {
  if (!(error instanceof Error) || deep === 0) return undefined;
  const { code, message, stack = "", cause } = error as NodeJS.ErrnoException;
  if (code === "ERR_ACCESS_DENIED" || code === "ERR_DLOPEN_DISABLED") {
    const { permission, resource, syscall } = error as { permission?: string; resource?: string; syscall?: string };
    const [, flag] = /--allow-([a-z-]+)/.exec(message) ?? [];
    const what = code === "ERR_DLOPEN_DISABLED" ? "addons" : permission || flag || (syscall ? "net" : message);
    return { refused: { permission: words(what), resource: words(resource ?? "") }, stack };
  }
  const inner = [cause, ...(error instanceof AggregateError ? error.errors.slice(0, DEEP) : [])];
  for (const one of inner) {
    const found = refusalIn(one, deep - 1);
    if (found) return found;
  }
  return undefined;
}

/** In the coordinator. `files` are those that the recipe is made of: no other is a place of it. */
export function errorOf(failure: Failure, files: ReadonlySet<string>): Error {
  const at = "at" in failure && failure.at && files.has(failure.at.file) ? placeOf(failure.at) : undefined;
  switch (failure.kind) {
    case "refused":
      return refusedError(failure.refused, at);
    case "command":
      return Object.assign(new CommandError("", failure.exit, "", undefined), { message: failure.message });
    case "told":
      return new ToldFailure(failure.message);
    case "coded": {
      const code = isErrorCode(failure.code) ? failure.code : "SANDBOX_FAILED";
      return new SortieError(code, failure.message, { hint: failure.hint, ...(at ? { at } : {}) });
    }
  }
}

const placeOf = ({ file, line, column }: { file: string; line: number; column?: number | undefined }) => ({
  file,
  line,
  ...(column === undefined ? {} : { column }),
});

function refusedError({ permission, resource }: Refused, at: SortieError["at"]): SortieError {
  const path = oneLine(resource);
  switch (permission) {
    case "FileSystemRead":
    case "fs-read":
      return denied(path === "" ? "read that" : `read ${path}`, `--allow-read=${path || "PATH"}`, at);
    case "FileSystemWrite":
    case "fs-write":
      return denied(path === "" ? "write that" : `write ${path}`, `--allow-write=${path || "PATH"}`, at);
    case "Net":
    case "net":
      return denied("use the network", "--allow-net", at);
    case "ChildProcess":
      return denied(path === "" ? "start a program" : `start ${path}`, undefined, at);
    case "WorkerThreads":
      return denied("start a worker thread", undefined, at);
    case "Signals":
      return denied("send a signal to a process", undefined, at);
    default:
      return denied(`use what Node calls ${oneLine(permission)}`, undefined, at);
  }
}

/** Of the coordinator, for the recipe. */
export function wireError(error: unknown): WireError {
  const { code, message, hint } = asSortieError(error);
  return { code, message, hint };
}

/** In the recipe's process. */
export const errorFrom = ({ code, message, hint }: WireError): SortieError =>
  new SortieError(isErrorCode(code) ? code : "INTERNAL", message, { hint });

// A command of a function that did not exit 0, or was ended: what `$` throws.
import { describeExit, type Exit } from "../../protocol/exit.ts";
import type { Location } from "./location.ts";

const COMMAND_ERROR = Symbol.for("sortie.command-error");

/** A command that did not exit 0. Its message says which, how it ended, and where the recipe starts it. */
export class CommandError extends Error {
  override readonly name = "CommandError";
  readonly [COMMAND_ERROR] = true;
  /** The command, shortened to one line. */
  readonly command: string;
  /** Null where it was ended by a signal, or never started. */
  readonly code: number | null;
  /** All that is known of its end. */
  readonly exit: Exit;
  /** The end of what it wrote to its standard error, at most 4 KiB. */
  readonly stderr: string;

  /** @internal */
  constructor(command: string, exit: Exit, stderr: string, at: Location | undefined) {
    super(`${command}: ${describeExit(exit)}${at ? ` (${at.file}:${at.line}:${at.column})` : ""}`);
    this.command = command;
    this.code = exit.code;
    this.exit = exit;
    this.stderr = stderr;
  }
}

/** @internal */
export const isCommandError = (error: unknown): error is CommandError =>
  error instanceof Error && COMMAND_ERROR in error;

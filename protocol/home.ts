// Where state lives: SORTIE_HOME, or the platform's own state folder. Folders are 0700, files 0600.
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { SortieError } from "./errors.ts";

/** The folder of one side: $SORTIE_HOME/SIDE, else $XDG_STATE_HOME/sortie/SIDE, else ~/.local/state/sortie/SIDE. */
export function homeOf(side: "runner" | "coordinator", environment: NodeJS.ProcessEnv = process.env): string {
  const base =
    environment["SORTIE_HOME"] || join(environment["XDG_STATE_HOME"] || join(homedir(), ".local", "state"), "sortie");
  return join(base, side);
}

/** Makes the folder, and those above it, for this user alone. Throws STATE_INVALID where it cannot be had. */
export function privateFolder(path: string): string {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw unusable(path, error);
  }
  return path;
}

/** Replaces a file whole: a crash leaves the old one or the new one, never half. */
export function replaceFile(path: string, content: string): void {
  privateFolder(dirname(path));
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, content, { mode: 0o600, flush: true });
  renameSync(temporary, path);
}

/** What the file system answered, as an error a person can act on: no such right, a read-only or a full disk. */
export function unusable(path: string, error: unknown): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof SortieError || code === undefined) return error;
  if (code === "ENOSPC" || code === "EDQUOT")
    return new SortieError("STORE_FAILED", `${path} could not be written: ${message}.`, { cause: error });
  return new SortieError("STATE_INVALID", `${path} cannot be used: ${message}.`, {
    hint: "Is it this user's own, and writable? SORTIE_HOME names another folder.",
    cause: error,
  });
}

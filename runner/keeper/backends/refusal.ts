// Why a command cannot be started here: looked up before the spawn, whose own error does not tell a missing directory
// from a missing program, and told from that error where only the kernel knows. local.ts asks.
import { accessSync, constants, type Stats, statSync } from "node:fs";
import { delimiter, resolve } from "node:path";
import type { Command } from "../../../protocol/command.ts";
import { messageOf } from "../../../protocol/errors.ts";
import type { Ended, Refusal } from "./backend.ts";

/** What a command of this machine is started with. */
export interface CommandSpec {
  readonly command: Command;
  /** The whole environment: nothing else is inherited. Has SORTIE_ATTEMPT_ID, which marks the process tree. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin: boolean;
}

/** Codes are a shell's: 127 where there is no such command, 126 where it is there and cannot be executed. */
export function cannotStart(spec: CommandSpec): Refusal | undefined {
  const noFolder = cannotEnter(spec.cwd);
  if (noFolder) return noFolder;
  if (!("argv" in spec.command)) return undefined;
  const [program = ""] = spec.command.argv;
  const named = program.includes("/");
  const places = named ? [resolve(spec.cwd, program)] : onPath(program, spec.env["PATH"] ?? "", spec.cwd);
  if (places.some(isExecutable)) return undefined;
  const looks = places.map(lookAt);
  if (looks.some((look) => typeof look !== "string"))
    return { stage: "command", code: 126, message: `${program}: not executable` };
  const [error] = looks;
  if (named && typeof error === "string" && error !== "ENOENT" && error !== "ENOTDIR")
    return { stage: "command", code: 126, message: `${program}: cannot be executed (${error})` };
  return { stage: "command", code: 127, message: `${program}: command not found` };
}

/** Why the directory cannot be one that commands run in. */
export function cannotEnter(path: string): Refusal | undefined {
  const folder = lookAt(path);
  if (typeof folder !== "string" && folder.isDirectory()) return undefined;
  const why =
    folder === "ENOENT"
      ? "is not there"
      : typeof folder === "string"
        ? `cannot be used (${folder})`
        : "is no directory";
  return { stage: "workdir", code: null, message: `the working directory ${path} ${why}` };
}

/** What the kernel said, where everything had looked well. */
export function spawnFailure(cause: unknown, program: string): Ended {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === "ENOENT")
    return { kind: "failed", stage: "command", code: 127, message: `${program}: its interpreter was not found` };
  if (code === "EACCES" || code === "ENOEXEC")
    return { kind: "failed", stage: "command", code: 126, message: `${program}: cannot be executed` };
  return { kind: "failed", stage: "spawn", code: null, message: `${program}: ${code ?? messageOf(cause)}` };
}

/** An empty or a relative entry of PATH is looked up from the command's own directory, as execvp(3) does. */
export const onPath = (program: string, path: string, cwd: string): string[] =>
  path.split(delimiter).map((folder) => resolve(cwd, folder, program));

/** What is there; or the error's code, such as ENOENT, EACCES, ENAMETOOLONG. */
function lookAt(path: string): Stats | string {
  try {
    return statSync(path);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? messageOf(error);
  }
}

export function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

// The commands of a job's `run`, each as a runner is asked for it.
import type { Command, Step } from "../../protocol/command.ts";
import type { CommandRun } from "./job-options.ts";
import { isShellCommand } from "./shell.ts";

/** `timeoutMs` is what each of them has. */
export const stepsOf = (run: CommandRun, timeoutMs?: number): Step[] =>
  commandsOf(run).map((command) => (timeoutMs === undefined ? command : { ...command, timeoutMs }));

function commandsOf(run: CommandRun): Command[] {
  if (typeof run === "string") return [{ shell: run }];
  if (isShellCommand(run)) return [{ shell: run.text }];
  if (run.every((part) => typeof part === "string")) return [{ argv: [...run] as string[] }];
  return (run as readonly (readonly string[] | { text: string })[]).map((step) =>
    "text" in step ? { shell: step.text } : { argv: [...step] },
  );
}

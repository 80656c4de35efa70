// `$`: starts commands where a job is. drive.ts opens one for each place of a job.
import { setImmediate as nextTurn } from "node:timers/promises";
import { Command } from "./command.ts";
import type { CommandStarter } from "./command-starter.ts";
import { callSite } from "./location.ts";
import type { Argv } from "./place.ts";
import { checkText, type ShellValue, sh } from "./shell.ts";

/**
 * Starts a command on the job's runner: a template is a shell command in which every interpolation is quoted, as in `sh`; a
 * list is argv, which no shell sees.
 */
export interface Shell {
  (strings: TemplateStringsArray, ...values: readonly ShellValue[]): Command;
  (argv: Argv): Command;
}

/** @internal A `$` for each place of a job, and what waits for all that they have started. */
export interface OpenShells {
  readonly shells: readonly Shell[];
  /** The function returned: resolves once all commands are over. Rejects with the first failure that nobody heard of. */
  settled(): Promise<void>;
  /** The function failed: what is read line by line is ended, so that nothing waits for its reader. */
  stopReading(): void;
}

/**
 * @internal Of the places of one job: what follows a command at one of them may be a command at another. `hide` takes the
 * job's secrets out of what people see of commands.
 */
export function openShells(
  starters: readonly CommandStarter[],
  hide: (text: string) => string = (text) => text,
): OpenShells {
  /** Those that are not over, and those that failed and were not heard of when they started. */
  const commands = new Set<Command>();
  let made = 0;

  const shells = starters.map((starter): Shell => {
    function $(first: TemplateStringsArray | Argv, ...values: readonly ShellValue[]): Command {
      const command = new Command({
        starter,
        command: isTemplate(first) ? { shell: sh(first, ...values).text } : { argv: checkedArgv(first) },
        location: callSite($),
        hide,
      });
      commands.add(command);
      made++;
      // What follows in the same expression says how it is read.
      setImmediate(() => {
        command.start();
        command.settled().then(
          () => commands.delete(command),
          () => {},
        );
      });
      return command;
    }
    return $;
  });
  return {
    shells,
    stopReading() {
      for (const command of commands) command.stopReading("the function that reads it failed");
    },
    async settled() {
      for (let waitedFor = -1; waitedFor !== made; ) {
        waitedFor = made;
        for (const command of commands) command.noMoreReading();
        const all = await Promise.allSettled([...commands].map((command) => command.settled()));
        const failed = all.find((one) => one.status === "rejected");
        if (failed) throw failed.reason;
        // Whoever waited for one of them may start another.
        await nextTurn();
      }
    },
  };
}

const isTemplate = (first: unknown): first is TemplateStringsArray => Array.isArray(first) && "raw" in first;

function checkedArgv(argv: unknown): string[] {
  if (!Array.isArray(argv) || argv.length === 0) throw new TypeError("$ takes a template, or a list with a program.");
  for (const part of argv) {
    if (typeof part !== "string") throw new TypeError(`$ takes a list of texts, not one with ${typeof part} in it.`);
    checkText(part, "$");
  }
  if (argv[0] === "") throw new TypeError("$ takes a list with a program, and its name is empty.");
  return [...argv];
}

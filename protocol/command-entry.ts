// What a command is to the command line: what is said of it, and where its module is.
import type { Argv } from "yargs";

/** A command's module. */
export interface CommandModule<Arguments> {
  readonly builder: (yargs: Argv) => Argv<Arguments> | Promise<Argv<Arguments>>;
  /**
   * Candidates for the value of an option or a positional that has no fixed choices, each with its description; `words` are those
   * of the command line so far. It starts nothing and writes nothing.
   */
  readonly complete?: (name: string, words: readonly string[]) => Promise<readonly (readonly [string, string])[]>;
  /** Resolves with the exit code; nothing means 0. */
  readonly handler: (options: Arguments & { readonly "--"?: readonly string[] }) => Promise<number | void>;
}

export interface CommandEntry {
  /** As yargs writes them: `exec <runner> [command..]`. */
  readonly command: string;
  readonly describe: string;
  // biome-ignore lint/suspicious/noExplicitAny: each command's own options are its module's business.
  readonly load: () => Promise<CommandModule<any>>;
  /** Its exit code for every error of Sortie's own; by default the error's. */
  readonly failureCode?: number;
}

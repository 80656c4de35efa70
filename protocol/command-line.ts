// What both commands share: yargs with commands that are loaded when they are used, and the one place that tells a
// person about an error.
import type { Argv } from "yargs";
import type { CommandEntry } from "./command-entry.ts";
import {
  COMPLETE,
  type Completed,
  completionScript,
  completionsOf,
  type Known,
  nearestOption,
  type Shell,
  shells,
} from "./completion.ts";
import { asSortieError, errorCatalog, exitCodes, SortieError } from "./errors.ts";
import { harmless, oneLine } from "./text.ts";
import { isTaken } from "./unhandled.ts";

const debugOption = { type: "boolean", describe: "Show stack traces", global: true } as const;

const completionEntry = (name: string): CommandEntry => ({
  command: "completion <shell>",
  describe: "Print what completes this command in a shell: bash, zsh or fish",
  load: async () => ({
    builder: (yargs) =>
      yargs
        .positional("shell", { choices: shells, demandOption: true, describe: "The shell that is to read it" })
        .example(`eval "$($0 completion bash)"`, "in ~/.bashrc")
        .example(`eval "$($0 completion zsh)"`, "in ~/.zshrc, after compinit")
        .example("$0 completion fish | source", "in ~/.config/fish/config.fish"),
    handler: async ({ shell }: { shell: Shell }) => {
      process.stdout.write(completionScript(name, shell));
    },
  }),
});

/** Runs the command that the arguments name, and exits. */
export async function runCommandLine(name: string, own: readonly CommandEntry[], epilogue: string): Promise<void> {
  const commands = [...own, completionEntry(name)];
  const debug = argumentsOf(process.argv.slice(2)).includes("--debug") || Boolean(process.env["SORTIE_DEBUG"]);
  let failureCode: number | undefined;
  const fail = (error: unknown): Promise<never> => {
    const sortieError = asSortieError(error);
    printError(sortieError, debug);
    return leave(failureCode ?? errorCatalog[sortieError.code].exitCode);
  };
  process.on("uncaughtException", (error) => void fail(error));
  process.on("unhandledRejection", (error) => void (isTaken(error) || fail(error)));
  // A reader that leaves early (`| head`) is no error of ours.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => (error.code === "EPIPE" ? undefined : void fail(error)));

  const [{ default: yargs }, { version }] = await Promise.all([import("yargs"), import("./version.ts")]);
  const [first, ...words] = process.argv.slice(2);
  if (first === COMPLETE) {
    const completedOf = async (entry: CommandEntry): Promise<Completed> => {
      const { builder, complete } = await entry.load();
      const known = (await builder(yargs([]).help().option("debug", debugOption))) as unknown as Known;
      return { known, ...(complete ? { complete } : {}) };
    };
    process.stdout.write(await completionsOf(words, commands, completedOf));
    return leave(0);
  }
  /** Ends yargs' part: it would lay out the help that nobody asked for once a command has begun, on its way. */
  const chosen = new Error("a command was chosen");
  const cli: Argv = yargs(process.argv.slice(2))
    .scriptName(name)
    .usage(`$0 <command>`)
    .parserConfiguration({
      "populate--": true,
      "parse-numbers": false,
      "parse-positional-numbers": false,
      "camel-case-expansion": false,
      "boolean-negation": false,
      "dot-notation": false,
    })
    .option("debug", debugOption)
    .version(version)
    .help()
    .alias("help", "h")
    .strict()
    .recommendCommands()
    .demandCommand(1, "Name a command.")
    .showHelpOnFail(false)
    .epilogue(epilogue)
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .exitProcess(false)
    .fail((message, error) => {
      if (error) throw error;
      const near = nearestOption(message ?? "", argumentsOf(process.argv.slice(2)), cli as unknown as Known);
      const hint = near === undefined ? `See ${name} --help.` : `Did you mean ${near}?`;
      throw new SortieError("USAGE", message ?? "The command line is wrong.", { hint });
    });
  let run: (() => Promise<number | void>) | undefined;
  for (const entry of commands) {
    cli.command(
      entry.command,
      entry.describe,
      async (yargs) => (await entry.load()).builder(yargs),
      (options) => {
        failureCode = entry.failureCode;
        run = async () => (await entry.load()).handler(options);
        throw chosen;
      },
    );
  }
  try {
    await cli.parseAsync().catch((error: unknown) => {
      if (error !== chosen) throw error;
    });
    await leave((await run?.()) ?? 0);
  } catch (error) {
    await fail(error);
  }
}

/** Exits once everything is written. What else still holds the loop (a closing socket) must not hold the person. */
async function leave(code: number): Promise<never> {
  await Promise.all([flushed(process.stdout), flushed(process.stderr)]);
  process.exit(code);
}

/** `error[CODE]: what happened`, where, and what to do. */
export function printError(error: SortieError, debug: boolean): void {
  const lines = [`error[${error.code}]: ${oneLine(error.message)}`];
  if (error.at)
    lines.push(
      `  at ${oneLine(error.at.file)}:${error.at.line}${error.at.column === undefined ? "" : `:${error.at.column}`}`,
    );
  lines.push(`  hint: ${oneLine(error.hint)}`);
  if (debug) lines.push(error.stack ?? "", ...(error.cause instanceof Error ? [`caused by ${error.cause.stack}`] : []));
  process.stderr.write(`${harmless(lines.join("\n"), false)}\n`);
}

/** The arguments that are for Sortie: what follows -- is somebody else's. */
function argumentsOf(argv: readonly string[]): readonly string[] {
  const end = argv.indexOf("--");
  return end < 0 ? argv : argv.slice(0, end);
}

async function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.writableLength === 0 || stream.destroyed) return;
  await new Promise<void>((resolve) => {
    stream.once("close", resolve);
    stream.once("error", () => resolve());
    stream.write("", () => resolve());
  });
}

export { exitCodes };

// What both commands share: yargs with commands that are loaded when they are used, and the one place that tells a
// person about an error.
import type { Argv } from "yargs";
import { asSortieError, errorCatalog, exitCodes, SortieError } from "./errors.ts";
import { oneLine } from "./text.ts";

/** A command's module. */
export interface CommandModule<Arguments> {
  readonly builder: (yargs: Argv) => Argv<Arguments> | Promise<Argv<Arguments>>;
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

/** Runs the command that the arguments name, and exits. */
export async function runCommandLine(name: string, commands: readonly CommandEntry[], epilogue: string): Promise<void> {
  const debug = argumentsOf(process.argv.slice(2)).includes("--debug") || Boolean(process.env["SORTIE_DEBUG"]);
  let failureCode: number | undefined;
  const fail = (error: unknown): Promise<never> => {
    const sortieError = asSortieError(error);
    printError(sortieError, debug);
    return leave(failureCode ?? errorCatalog[sortieError.code].exitCode);
  };
  process.on("uncaughtException", (error) => void fail(error));
  process.on("unhandledRejection", (error) => void fail(error));
  // A reader that leaves early (`| head`) is no error of ours.
  for (const stream of [process.stdout, process.stderr])
    stream.on("error", (error: NodeJS.ErrnoException) => (error.code === "EPIPE" ? undefined : void fail(error)));

  const [{ default: yargs }, { version }] = await Promise.all([import("yargs"), import("./version.ts")]);
  let code = 0;
  const cli = yargs(process.argv.slice(2))
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
    .option("debug", { type: "boolean", describe: "Show stack traces", global: true })
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
      throw error ?? new SortieError("USAGE", message ?? "The command line is wrong.", { hint: `See ${name} --help.` });
    });
  for (const entry of commands) {
    cli.command(
      entry.command,
      entry.describe,
      async (yargs) => (await entry.load()).builder(yargs),
      async (options) => {
        failureCode = entry.failureCode;
        code = (await (await entry.load()).handler(options)) ?? 0;
      },
    );
  }
  try {
    await cli.parseAsync();
    await leave(code);
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
    lines.push(`  at ${error.at.file}:${error.at.line}${error.at.column === undefined ? "" : `:${error.at.column}`}`);
  lines.push(`  hint: ${oneLine(error.hint)}`);
  if (debug) lines.push(error.stack ?? "", ...(error.cause instanceof Error ? [`caused by ${error.cause.stack}`] : []));
  process.stderr.write(`${lines.join("\n")}\n`);
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

// Starts the process of a sandboxed recipe: this very Node under its permission model, with what was granted and nothing else, an
// environment made of nothing, and one pipe beside its outputs. sandbox.ts talks to it.
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type { Socket } from "node:net";
import { dirname, join } from "node:path";
import type { Duplex, Readable } from "node:stream";
import { pathToFileURL } from "node:url";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { realPath } from "../../protocol/real-path.ts";
import { within } from "../../protocol/within.ts";
import { harmless } from "../views/format.ts";
import { lineCutter } from "../views/lines.ts";
import type { SandboxGrants } from "./grants.ts";

export interface RecipeProcess {
  readonly pipe: Duplex;
  /** Why it ended, and never before that: nobody but close() ends it for nothing. */
  readonly ended: Promise<SortieError>;
  /** Ends it, at once. */
  kill(because: SortieError): void;
  /** Lets it end by itself, for a moment. Resolves once it is gone, and what it printed was taken. */
  close(): Promise<void>;
}

export interface ProcessOptions {
  /** Paths that it may read, beside what Sortie itself is made of. */
  readonly readable: readonly string[];
  readonly grants: SandboxGrants;
  /** Told the lines that it prints, harmless. */
  readonly printed: (line: string) => void;
  readonly bounds: Pick<Bounds, "heapBytes" | "memoryBytes">;
  /** What Node runs. Default: this installation's own. */
  readonly program?: string | undefined;
}

/** What such a process may take, at most. */
export interface Bounds {
  /** Until it has loaded the recipe, and until it has answered; milliseconds. */
  readonly loadMs: number;
  readonly answersMs: number;
  readonly heapBytes: number;
  /** All of its memory. */
  readonly memoryBytes: number;
}

export const defaultBounds: Bounds = {
  loadMs: limits.sandboxAnswersMs,
  answersMs: limits.sandboxAnswersMs,
  heapBytes: limits.sandboxHeapBytes,
  memoryBytes: limits.sandboxMemoryBytes,
};

/** The first Node that can keep a process from the network. */
const KEEPS_FROM_NET = 25;
const require = createRequire(import.meta.url);
/** This installation's own, whatever the recipe's project has. */
const sdk = (): string => require.resolve("sortie");
export const sdkAddress = (): string => pathToFileURL(sdk()).href;

/** Throws USAGE where this Node cannot do it. */
export function startProcess({
  readable,
  grants,
  printed,
  bounds,
  program = ownProgram(),
}: ProcessOptions): RecipeProcess {
  const canKeepFromNet = process.allowedNodeEnvironmentFlags.has("--allow-net") || majorOfNode() >= KEEPS_FROM_NET;
  if (!canKeepFromNet && !grants.net)
    throw new SortieError("USAGE", `Node ${process.versions.node} cannot keep a recipe from the network.`, {
      hint: `Use Node ${KEEPS_FROM_NET} or newer, or let the recipe use the network: --allow-net.`,
    });
  const flags = [
    "--permission",
    // The recipe's functions may import Sortie's own code once more; nothing of a person's is there.
    ...pathsOf("read", [...readable, ...ownCode(program)]),
    ...pathsOf("write", grants.write),
    ...(canKeepFromNet && grants.net ? ["--allow-net"] : []),
    "--no-addons",
    "--no-experimental-sqlite",
    ...(process.allowedNodeEnvironmentFlags.has("--experimental-ffi") ? ["--no-experimental-ffi"] : []),
    "--disable-sigusr1",
    "--enable-source-maps",
    "--no-warnings",
    `--max-old-space-size=${bounds.heapBytes / 2 ** 20}`,
  ];
  const child = spawn(process.execPath, [...flags, program], {
    stdio: ["ignore", "pipe", "pipe", "pipe"],
    // In no terminal: Ctrl-C is the coordinator's, which then cancels jobs that functions drive.
    detached: true,
    env: process.env["TZ"] === undefined ? {} : { TZ: process.env["TZ"] },
  });
  const ended = Promise.withResolvers<SortieError>();
  let why: SortieError | undefined;
  const kill = (because: SortieError): void => {
    why ??= because;
    child.kill("SIGKILL");
  };
  child.once("error", (error) =>
    ended.resolve(failed(`The process of a sandboxed recipe could not be started: ${error.message}.`)),
  );
  // One that loops would not see its pipe's end.
  const watchdog = killWithThis(child.pid);
  const killNow = (): void => {
    child.kill("SIGKILL");
    watchdog?.kill("SIGKILL");
  };
  process.once("exit", killNow);
  child.once("exit", (code, signal) => {
    clearInterval(watching);
    watchdog?.kill("SIGKILL");
    process.off("exit", killNow);
    ended.resolve(why ?? failed(howItEnded(code, signal)));
  });
  const watching = setInterval(() => {
    if (memoryOf(child.pid) > bounds.memoryBytes)
      kill(failed(`The sandboxed recipe took more than ${bounds.memoryBytes / 2 ** 20} MiB of memory.`));
  }, limits.sandboxLookMs);
  watching.unref();
  const budget = { bytes: limits.sandboxPrintedBytes };
  const outputs = [child.stdout, child.stderr].map((output) => show(output as Readable, budget, printed));
  return {
    pipe: child.stdio[3] as Duplex,
    ended: ended.promise,
    kill,
    async close() {
      (child.stdio[3] as Duplex).end();
      await within(ended.promise, limits.closeMs);
      kill(failed("The run is over."));
      await ended.promise;
      await within(Promise.all(outputs), limits.closeMs);
    },
  };
}

/** A process that kills that one as soon as this one is gone, by SIGKILL too: its stdin ends then. */
function killWithThis(pid: number | undefined): ChildProcess | undefined {
  if (pid === undefined) return undefined;
  const watchdog = spawn("/bin/sh", ["-c", 'read -r _; kill -KILL "$1"', "sh", String(pid)], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
    env: {},
  });
  // Without a shell there is none.
  watchdog.on("error", () => {});
  watchdog.stdin.on("error", () => {});
  watchdog.unref();
  (watchdog.stdin as Socket).unref();
  return watchdog;
}

/** Resolves with its end. Beyond the budget nothing is read: who goes on writing has nobody to write to. */
async function show(output: Readable, budget: { bytes: number }, printed: (line: string) => void): Promise<void> {
  const lines = lineCutter();
  // It is printed behind a word of ours, where GitHub takes only the older form of its commands for one: see withoutCommand().
  const tell = (line: string): void =>
    printed(harmless(line, false).slice(0, limits.sandboxLineCharacters).replaceAll("##[", "## ["));
  try {
    for await (const bytes of output as AsyncIterable<Buffer>) {
      budget.bytes -= bytes.length;
      for (const line of lines.push(bytes)) tell(line);
      if (budget.bytes >= 0) continue;
      tell("(it printed more than is shown)");
      return;
    }
    const rest = lines.rest();
    if (rest !== undefined) tell(rest);
  } catch {
    // It is gone.
  }
}

function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  if (signal === "SIGABRT" || code === 134)
    return "The sandboxed recipe's process was aborted, as it is where it runs out of memory.";
  return `The sandboxed recipe's process ended by itself: ${signal ?? `exit ${code}`}.`;
}

const failed = (message: string): SortieError => new SortieError("SANDBOX_FAILED", message);

/** In bytes; 0 where the platform does not tell. */
export function memoryOf(pid: number | undefined): number {
  try {
    return Number(readFileSync(`/proc/${pid}/statm`, "latin1").split(" ")[1]) * PAGE_BYTES;
  } catch {
    return 0;
  }
}

/** Of Linux on what Node runs on there, but for some arm64, where a page is longer and the limit lower. */
const PAGE_BYTES = 4_096;

const majorOfNode = (): number => Number.parseInt(process.versions.node, 10);

const pathsOf = (what: "read" | "write", paths: readonly string[]): string[] =>
  // Node compares what a program asks for, and follows links only then: the way it is named and where it leads.
  [...new Set(paths.flatMap((path) => [path, realPath(path)]))].map((path) => `--allow-fs-${what}=${path}`);

function ownProgram(): string {
  const here = import.meta.dirname;
  return import.meta.filename.endsWith(".ts")
    ? join(here, "../../scripts/bin/sandbox.ts")
    : join(here.replace(/\/chunks$/, ""), "sandbox.js");
}

/** Folders that Sortie's own code is in: what is built, or the repository. */
const ownCode = (program: string): string[] => [
  program.endsWith(".ts") ? join(import.meta.dirname, "../..") : dirname(program),
  dirname(sdk()),
];

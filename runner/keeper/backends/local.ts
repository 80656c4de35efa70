// Starts a command as a process of this machine, on execa: argv without a shell, in a group of its own, with exactly
// the environment it was given, on real pipes.
import { accessSync, closeSync, constants, statSync } from "node:fs";
import { delimiter, isAbsolute, join, resolve } from "node:path";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import type { SignalName } from "../../../protocol/exit.ts";
import { limits } from "../../../protocol/limits.ts";
import { type OutputPipe, pipePool } from "../pipes.ts";
import { groupLives, killMarked, killTree, MARKER, signalTree } from "../process-tree.ts";
import type { Backend, CommandSpec, Ended, RunningCommand, Settled } from "./backend.ts";

/** Sweeps wait this long for company: one look through /proc serves every attempt that ended meanwhile. */
const SWEEP_EVERY_MS = 250;
/** Outputs that a killed group held are read for this long before they are closed. */
const LAST_WORDS_MS = 250;
const DRAIN_TICK_MS = 50;

/** `folder` holds the backend's FIFOs; close() removes it. */
export function localBackend(folder: string): Backend {
  const pipes = pipePool(folder);
  const waiting = new Set<string>();
  let sweeping: Promise<void> | undefined;

  return {
    async start(spec) {
      const refusal = cannotStart(spec);
      if (refusal) return notStarted(refusal);
      try {
        return await startProcess(spec, pipes);
      } catch (error) {
        return notStarted({ stage: "spawn", code: null, message: messageOf(error) });
      }
    },
    sweep(attemptId) {
      waiting.add(attemptId);
      sweeping ??= delay(SWEEP_EVERY_MS).then(() => {
        const attempts = new Set(waiting);
        waiting.clear();
        sweeping = undefined;
        return killMarked(attempts);
      });
      return sweeping;
    },
    async close() {
      await sweeping;
      await pipes.close();
    },
  };
}

async function startProcess(spec: CommandSpec, pipes: ReturnType<typeof pipePool>): Promise<RunningCommand> {
  const stdout = await pipes.output();
  const stderr = await pipes.output();
  const stdin = spec.stdin ? await pipes.input() : undefined;
  const childEnds = [stdout.childEnd, stderr.childEnd, ...(stdin ? [stdin.childEnd] : [])];
  const [program, ...args] = "argv" in spec.command ? spec.command.argv : ["/bin/sh", "-c", spec.command.shell];
  let child: ReturnType<typeof spawn>;
  try {
    child = spawn(program as string, args, spec, [stdin?.childEnd ?? "ignore", stdout.childEnd, stderr.childEnd]);
  } catch (error) {
    for (const { reader } of [stdout, stderr]) reader.destroy();
    stdin?.release();
    stdin?.writer.destroy();
    throw error;
  } finally {
    for (const end of childEnds) closeSync(end);
  }
  const group = child.pid;
  const attempt = spec.env[MARKER] ?? "";
  const exited = new Promise<Ended>((resolveExit) => {
    child.nodeChildProcess.on("exit", (code, signal) => {
      if (signal) resolveExit({ kind: "signaled", signal: signal.slice(3) as SignalName });
      else resolveExit({ kind: "exited", code: code ?? 0 });
    });
    // execa's own result waits for more than we do; only a process that never was is told by nothing else.
    void child.then((result) => {
      if (group === undefined) resolveExit(spawnFailure((result as { cause?: unknown }).cause, program as string));
    });
  });
  stdin?.writer.on("error", () => {});
  stdout.reader.on("error", () => {});
  stderr.reader.on("error", () => {});

  const settled = settle(exited, [stdout, stderr], group, attempt).then((how) => {
    stdin?.release();
    stdin?.writer.destroy();
    return how;
  });
  let killing: Promise<void> | undefined;
  return {
    stdin: stdin?.writer,
    stdout: stdout.reader,
    stderr: stderr.reader,
    settled,
    signal: (name) => void signalTree(attempt, group, name),
    kill: (graceMs) => {
      killing ??= killTree(attempt, group, graceMs);
      return killing;
    },
  };
}

function spawn(
  program: string,
  args: readonly string[],
  spec: CommandSpec,
  stdio: readonly ["ignore" | number, number, number],
) {
  return execa(program, args, {
    cwd: spec.cwd,
    env: spec.env,
    extendEnv: false,
    detached: true,
    cleanup: false,
    buffer: false,
    reject: false,
    stripFinalNewline: false,
    // execa's types know descriptors 3 to 9 only; it passes any on.
    stdin: stdio[0] as 3 | "ignore",
    stdout: stdio[1] as 3,
    stderr: stdio[2] as 3,
  });
}

/**
 * Settled at the end of both outputs; otherwise, after the exit, once they were quiet for a while: then something
 * the command started holds them, and is ended.
 */
async function settle(
  exited: Promise<Ended>,
  outputs: readonly OutputPipe[],
  group: number | undefined,
  attempt: string,
): Promise<Settled> {
  const how = await exited;
  const ends = outputs.map(
    ({ reader }) => new Promise<void>((done) => (reader.closed ? done() : reader.once("close", done))),
  );
  const allEnded = Promise.all(ends).then(() => true as const);
  let heldOpen = false;
  if (!(await endedOrQuiet(allEnded, outputs))) {
    heldOpen = true;
    if (group !== undefined) signalTree(attempt, group, "KILL");
    if (!(await Promise.race([allEnded, delay(LAST_WORDS_MS, false)])))
      for (const { reader } of outputs) reader.destroy();
    await allEnded;
  }
  // What stays in the group with its outputs closed is no part of the job any more.
  if (group !== undefined && groupLives(group)) signalTree(attempt, group, "KILL");
  return { ...how, heldOpen };
}

/** True at the end of the outputs; false when they were quiet for too long although they were being read. */
async function endedOrQuiet(allEnded: Promise<true>, outputs: readonly OutputPipe[]): Promise<boolean> {
  let quiet = 0;
  let open = 0;
  let before = -1;
  while (quiet < limits.drainQuietMs && open < limits.drainMaximumMs) {
    if (await Promise.race([allEnded, delay(DRAIN_TICK_MS, false)])) return true;
    // A paused output waits for its reader, so its silence says nothing.
    if (outputs.some(({ reader }) => !reader.closed && (reader.isPaused() || reader.readableLength > 0))) {
      quiet = 0;
      continue;
    }
    const read = outputs.reduce((sum, { reader }) => sum + reader.bytesRead, 0);
    quiet = read === before ? quiet + DRAIN_TICK_MS : 0;
    open += DRAIN_TICK_MS;
    before = read;
  }
  return false;
}

interface Refusal {
  readonly stage: "workdir" | "command" | "spawn";
  readonly code: 126 | 127 | null;
  readonly message: string;
}

/** What the spawn's own error could not tell apart: a missing directory and a missing program are both ENOENT. */
function cannotStart(spec: CommandSpec): Refusal | undefined {
  const folder = statSync(spec.cwd, { throwIfNoEntry: false });
  if (!folder?.isDirectory())
    return { stage: "workdir", code: null, message: `the working directory ${spec.cwd} is not there` };
  if (!("argv" in spec.command)) return undefined;
  const [program = ""] = spec.command.argv;
  const found = program.includes("/")
    ? [isAbsolute(program) ? program : resolve(spec.cwd, program)]
    : onPath(program, spec.env["PATH"] ?? "");
  const files = found.filter((path) => statSync(path, { throwIfNoEntry: false }));
  if (files.length === 0) return { stage: "command", code: 127, message: `${program}: command not found` };
  if (!files.some(isExecutable)) return { stage: "command", code: 126, message: `${program}: not executable` };
  return undefined;
}

const onPath = (program: string, path: string): string[] =>
  path.split(delimiter).map((folder) => join(folder || ".", program));

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

function spawnFailure(cause: unknown, program: string): Ended {
  const code = (cause as NodeJS.ErrnoException | undefined)?.code;
  if (code === "ENOENT")
    return { kind: "failed", stage: "command", code: 127, message: `${program}: its interpreter was not found` };
  if (code === "EACCES" || code === "ENOEXEC")
    return { kind: "failed", stage: "command", code: 126, message: `${program}: cannot be executed` };
  return { kind: "failed", stage: "spawn", code: null, message: `${program}: ${code ?? messageOf(cause)}` };
}

function notStarted(refusal: Refusal): RunningCommand {
  return {
    stdin: undefined,
    stdout: Readable.from([]),
    stderr: Readable.from([]),
    settled: Promise.resolve({ kind: "failed", heldOpen: false, ...refusal }),
    signal: () => {},
    kill: () => Promise.resolve(),
  };
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));

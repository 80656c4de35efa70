// Starts a command as a process of this machine, on execa: argv without a shell, in a group of its own, with exactly
// the environment it was given, on real pipes. A script without `#!` is run by sh, as execvp(3) does.
import { closeSync } from "node:fs";
import { Readable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import type { SignalName } from "../../../protocol/exit.ts";
import { limits } from "../../../protocol/limits.ts";
import { type InputPipe, type OutputPipe, pipePool } from "../pipes.ts";
import { groupLives, killGroupNow, killMarked, killTree, MARKER, signalTree } from "../process-tree.ts";
import type { Backend, CommandSpec, Ended, RunningCommand, Settled } from "./backend.ts";
import { cannotStart, messageOf, type Refusal, spawnFailure } from "./refusal.ts";

/** Sweeps wait this long for company: one look through /proc serves every attempt that ended meanwhile. */
const SWEEP_EVERY_MS = 250;
/** Outputs that a killed group held are read for this long before they are closed. */
const LAST_WORDS_MS = 250;
const DRAIN_TICK_MS = 50;
/** What one pipe may have held at the command's exit: pipe-max-size, which a process may ask for (pipe(7)). */
const PIPE_BYTES = 1024 * 1024;

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
  const [program, ...args] = "argv" in spec.command ? spec.command.argv : ["/bin/sh", "-c", spec.command.shell];
  const opened: (OutputPipe | InputPipe)[] = [];
  const keep = <Pipe extends OutputPipe | InputPipe>(pipe: Pipe): Pipe => {
    opened.push(pipe);
    return pipe;
  };
  let stdout: OutputPipe;
  let stderr: OutputPipe;
  let stdin: InputPipe | undefined;
  let child: ReturnType<typeof spawn>;
  try {
    stdout = keep(await pipes.output());
    stderr = keep(await pipes.output());
    stdin = spec.stdin ? keep(await pipes.input()) : undefined;
    child = spawn(program as string, args, spec, [stdin?.childEnd ?? "ignore", stdout.childEnd, stderr.childEnd]);
  } catch (error) {
    for (const pipe of opened) closeOurs(pipe);
    throw error;
  } finally {
    for (const { childEnd } of opened) closeSync(childEnd);
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
    if (stdin) closeOurs(stdin);
    over = true;
    return how;
  });
  let killing: Promise<void> | undefined;
  const signals = new Set<SignalName>();
  /** From then on the group's number may be another's. */
  let over = false;
  return {
    group,
    stdin: stdin?.writer,
    stdout: stdout.reader,
    stderr: stderr.reader,
    settled,
    signal(name) {
      // Finding what left the group takes milliseconds: a caller that sends a thousand at once gets one look, and
      // one of each, which is also what the kernel makes of them.
      if (signals.size === 0) setImmediate(deliver);
      signals.add(name);
    },
    kill: (graceMs) => {
      killing ??= killTree(attempt, group, graceMs);
      return killing;
    },
    killNow() {
      if (group !== undefined && !over) killGroupNow(group);
    },
  };

  function deliver(): void {
    if (!over) signalTree(attempt, group, ...signals);
    signals.clear();
  }
}

function closeOurs(pipe: OutputPipe | InputPipe): void {
  if ("reader" in pipe) {
    pipe.reader.destroy();
    return;
  }
  pipe.release();
  pipe.writer.destroy();
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

/** True at the end of the outputs; false when they were quiet, or went on, for too long although they were being read. */
async function endedOrQuiet(allEnded: Promise<true>, outputs: readonly OutputPipe[]): Promise<boolean> {
  let quiet = 0;
  let open = 0;
  let before = -1;
  const atExit = outputs.map(({ reader }) => reader.bytesRead);
  while (quiet < limits.drainQuietMs && open < limits.drainMaximumMs) {
    if (await Promise.race([allEnded, delay(DRAIN_TICK_MS, false)])) return true;
    // A paused output waits for its reader, so its silence says nothing; and the command's own last words, which the
    // pipe still holds, wait for as long as the reader likes. What comes behind them is another's.
    const paused = outputs.map(({ reader }) => !reader.closed && (reader.isPaused() || reader.readableLength > 0));
    if (outputs.some(({ reader }, at) => paused[at] && reader.bytesRead - (atExit[at] ?? 0) <= PIPE_BYTES)) {
      quiet = 0;
      continue;
    }
    const read = outputs.reduce((sum, { reader }) => sum + reader.bytesRead, 0);
    quiet = read === before && !paused.includes(true) ? quiet + DRAIN_TICK_MS : 0;
    open += DRAIN_TICK_MS;
    before = read;
  }
  return false;
}

function notStarted(refusal: Refusal): RunningCommand {
  return {
    stdin: undefined,
    stdout: Readable.from([]),
    stderr: Readable.from([]),
    settled: Promise.resolve({ kind: "failed", heldOpen: false, ...refusal }),
    signal: () => {},
    kill: () => Promise.resolve(),
    killNow: () => {},
  };
}

// Starts commands as processes of this machine, on execa: argv without a shell, in a group of their own, with exactly the
// environment they were given, on real pipes. A script without `#!` is run by sh, as execvp(3) does.
import { chownSync, closeSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join, resolve } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { messageOf } from "../../../protocol/errors.ts";
import type { Ending, SignalName } from "../../../protocol/exit.ts";
import type { JobRequest } from "../../../protocol/messages.ts";
import { bootId, processStat } from "../../../protocol/process-stat.ts";
import { type ControlGroup, findGroup, openGroup } from "../cgroup.ts";
import { type InputPipe, type OutputPipe, pipePool } from "../pipes.ts";
import { groupLives, killGroupNow, killMarked, killTree, signalTree, type Tree } from "../process-tree.ts";
import { environmentOf, markOf, removeWorkFolder } from "../work.ts";
import { type Account, findAccount } from "./account.ts";
import {
  type Backend,
  type Ended,
  type OwnPart,
  Refused,
  type RunningCommand,
  type Settled,
  type Site,
} from "./backend.ts";
import { NOTHING_ENDED } from "./ending.ts";
import { launcherOf } from "./launcher.ts";
import { notStarted } from "./not-started.ts";
import { type Look, overOrQuiet } from "./quiet.ts";
import { type CommandSpec, cannotEnter, cannotStart, spawnFailure } from "./refusal.ts";
import { type SecretFiles, withPaths, writeSecretFiles } from "./secret-files.ts";

/** Sweeps are at least this far apart: one look through /proc serves every attempt that ended meanwhile. */
const SWEEP_EVERY_MS = 250;
/** What was started last gets through its exec: meanwhile a process shows no environment to be known by. */
const BEFORE_SWEEP_MS = 20;
/** Outputs that a killed group held are read for this long before they are closed. */
const LAST_WORDS_MS = 250;
const OWN_FOLDER = "sortie-job-";
/** What one pipe may have held at the command's exit: pipe-max-size, which a process may ask for (pipe(7)). */
const PIPE_BYTES = 1024 * 1024;

/** What a command has from its job. */
interface Surroundings {
  readonly umask: number | undefined;
  /** Programs, each with its arguments, that run the command behind them: they set its rights and its priority. */
  readonly launcher: readonly string[];
  readonly control: ControlGroup | undefined;
  /** Whether the control group has other commands in it. */
  readonly shared: boolean;
  /** What the environment of everything that it starts holds. */
  readonly mark: string;
  /** The process group of a command that was started. */
  readonly started: (group: number) => void;
}

/** `folder` holds the backend's FIFOs; close() removes it. `owner` tells this runner's files from another's. */
export function localBackend(folder: string, owner: string): Backend {
  const pipes = pipePool(folder);
  pipes.fill();
  const waiting = new Set<string>();
  let sweeping: Promise<void> | undefined;
  let nextSweep = 0;

  /** Ends daemons that closed their outputs and left their group. */
  function sweep(attemptId: string): Promise<void> {
    waiting.add(attemptId);
    sweeping ??= delay(Math.max(BEFORE_SWEEP_MS, nextSweep - performance.now())).then(() => {
      nextSweep = performance.now() + SWEEP_EVERY_MS;
      const attempts = new Set(waiting);
      waiting.clear();
      sweeping = undefined;
      return killMarked(attempts);
    });
    return sweeping;
  }

  return {
    async open(asked, workspace, events): Promise<Site> {
      const { attemptId, user, nice, umask } = asked;
      const account = user === undefined ? undefined : await findAccount(user);
      const control = asked.limits && openGroup(attemptId, asked.limits);
      let launcher: readonly string[];
      let folder: string | undefined;
      let files: SecretFiles | undefined;
      try {
        launcher = launcherOf(account, nice, control);
        files = writeSecretFiles(asked, { events, owner, account });
        folder = account && asked.cwd === undefined ? folderOf(account) : undefined;
      } catch (error) {
        files?.remove();
        control?.remove();
        throw error;
      }
      const request = withPaths(asked, (name) => join(files?.folder ?? "", name));
      const directory = request.cwd ?? folder ?? workspace;
      const markOfGroup = (group: number): string =>
        ["local", group, processStat(group)?.began ?? "", bootId(), folder ?? ""].join(" ");
      return {
        async enter() {
          const refusal = cannotEnter(directory);
          if (refusal) throw new Refused(refusal.stage, refusal.message);
          // Of no group: commands have marks of their own.
          events.mark(markOfGroup(0));
          return directory;
        },
        async start({ command, stdin, own }) {
          const cwd = resolve(directory, own?.cwd ?? "");
          const spec: CommandSpec = { command, env: environment(request, account, own), cwd, stdin };
          const refusal = cannotStart(spec);
          if (refusal) return notStarted(refusal);
          const started = (group: number): void =>
            own ? own.mark(markOfGroup(group)) : events.mark(markOfGroup(group));
          const surroundings: Surroundings = {
            umask,
            launcher,
            control,
            shared: own !== undefined,
            mark: markOf(request, own),
            started,
          };
          try {
            return await startProcess(spec, surroundings, pipes);
          } catch (error) {
            return notStarted({ stage: "spawn", code: null, message: messageOf(error) });
          }
        },
        end: async () => files?.remove(),
        async close() {
          control?.kill();
          await sweep(attemptId);
          control?.remove();
          if (folder !== undefined) await removeWorkFolder(folder).catch(() => {});
          return true;
        },
      };
    },
    async reap(attempt, mark) {
      const [, group, began, booted, ...path] = mark.split(" ");
      const folder = path.join(" ");
      // Its leader may be gone, and then nobody gets its number while others of the group live; but a leader that began at
      // another time, or on another day, is somebody else.
      const now = processStat(Number(group))?.began;
      const isOurs = Number(group) > 1 && booted === bootId() && (now === undefined || now === began);
      const control = findGroup(attempt);
      control?.kill();
      await killMarked(new Set([attempt]), isOurs ? Number(group) : undefined);
      control?.remove();
      // One that cannot be removed, a mount in it, must not keep the keeper from coming up.
      if (basename(folder).startsWith(OWN_FOLDER)) await removeWorkFolder(folder).catch(() => {});
    },
    async close() {
      await sweeping;
      await pipes.close();
    },
  };
}

/** The account's own place and name; a job may still set these itself. */
const environment = (
  request: JobRequest,
  account: Account | undefined,
  own: OwnPart | undefined,
): Record<string, string> =>
  account
    ? {
        ...(account.name === undefined ? {} : { USER: account.name, LOGNAME: account.name }),
        ...environmentOf(request, own, { ...process.env, HOME: account.home }),
      }
    : environmentOf(request, own);

/** A working directory that the account can get to: those of the runner are for its own user alone. */
function folderOf({ uid, gid }: Account): string {
  const path = mkdtempSync(join(tmpdir(), OWN_FOLDER));
  chownSync(path, uid, gid);
  return path;
}

async function startProcess(
  spec: CommandSpec,
  around: Surroundings,
  pipes: ReturnType<typeof pipePool>,
): Promise<RunningCommand> {
  const argv = "argv" in spec.command ? spec.command.argv : ["/bin/sh", "-c", spec.command.shell];
  const [program, ...args] = [...around.launcher, ...argv];
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
    const ends = [stdin?.childEnd ?? "ignore", stdout.childEnd, stderr.childEnd] as const;
    child = withUmask(around.umask, () => spawn(program as string, args, spec, ends));
  } catch (error) {
    for (const pipe of opened) closeOurs(pipe);
    throw error;
  } finally {
    for (const { childEnd } of opened) closeSync(childEnd);
  }
  const ranOut = around.control?.outOfMemory() ?? 0;
  const group = child.pid;
  const tree: Tree | undefined =
    group === undefined ? undefined : { mark: around.mark, group, control: around.shared ? undefined : around.control };
  if (tree) around.started(tree.group);
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

  let killing: Promise<Ending> | undefined;
  const settled = settle(exited, [stdout, stderr], tree, () => killing).then((how) => {
    if (stdin) closeOurs(stdin);
    over = true;
    return outOfMemory(how, around.control, ranOut);
  });
  const signals = new Set<SignalName>();
  /** From then on the group's number may be another's. */
  let over = false;
  return {
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
      killing ??= tree ? killTree(tree, graceMs) : Promise.resolve(NOTHING_ENDED);
      return killing;
    },
    killNow() {
      if (!tree || over) return;
      killGroupNow(tree.group);
      tree.control?.kill();
    },
  };

  function deliver(): void {
    if (tree && !over) signalTree(tree, ...signals);
    signals.clear();
  }
}

/** A command that failed in a group whose memory ran out meanwhile, failed for that. */
function outOfMemory(how: Settled, control: ControlGroup | undefined, before: number): Settled {
  if (!control || control.outOfMemory() === before || (how.kind === "exited" && how.code === 0)) return how;
  const code = how.kind === "exited" ? how.code : null;
  const signal = how.kind === "signaled" ? how.signal : null;
  return { kind: "out-of-memory", code, signal, heldOpen: how.heldOpen };
}

/** The process's own mask is what a child gets; between the two lines nothing else can run. */
function withUmask<T>(umask: number | undefined, start: () => T): T {
  if (umask === undefined) return start();
  const before = process.umask(umask);
  try {
    return start();
  } finally {
    process.umask(before);
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
  tree: Tree | undefined,
  killing: () => Promise<unknown> | undefined,
): Promise<Settled> {
  const how = await exited;
  const ends = outputs.map(
    ({ reader }) => new Promise<void>((done) => (reader.closed ? done() : reader.once("close", done))),
  );
  const allEnded = Promise.all(ends).then(() => true as const);
  const atExit = outputs.map(({ reader }) => reader.bytesRead);
  let heldOpen = !(await overOrQuiet(allEnded, () => lookAt(outputs, atExit)));
  // Who cancels a job gives its grace to what the command started, too.
  if (killing()) {
    await killing();
    heldOpen = !(await Promise.race([allEnded, delay(LAST_WORDS_MS, false)]));
  }
  if (heldOpen) {
    if (tree) signalTree(tree, "KILL");
    if (!(await Promise.race([allEnded, delay(LAST_WORDS_MS, false)])))
      for (const { reader } of outputs) reader.destroy();
    await allEnded;
  }
  // What stays in the group with its outputs closed is no part of the job any more.
  if (tree && groupLives(tree.group)) signalTree(tree, "KILL");
  return { ...how, heldOpen };
}

/** Of one moment; `atExit` is what each output had given when the command itself ended. */
function lookAt(outputs: readonly OutputPipe[], atExit: readonly number[]): Look {
  const paused = outputs.map(({ reader }) => !reader.closed && (reader.isPaused() || reader.readableLength > 0));
  return {
    received: outputs.reduce((sum, { reader }) => sum + reader.bytesRead, 0),
    waiting: paused.includes(true),
    // What comes behind what the pipe may have held is another's.
    own: outputs.some(({ reader }, at) => paused[at] && reader.bytesRead - (atExit[at] ?? 0) <= PIPE_BYTES),
  };
}

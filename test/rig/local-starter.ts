// Starts the commands of a `$` as real processes of this machine, with real pipes: what a runner does, without a runner.
// A test can lose a command or have a start refused, and can see how much was written and read. dollar.test.ts and
// dollar-quoting.test.ts use it.
import { type ChildProcessWithoutNullStreams, spawn } from "node:child_process";
import { once } from "node:events";
import { Readable } from "node:stream";
import type {
  CommandSink,
  CommandSpec,
  CommandStarter,
  StartedCommand,
} from "../../coordinator/recipe/command-starter.ts";
import type { Exit, SignalName } from "../../protocol/exit.ts";

/** From TERM to KILL: for a command that is deaf to TERM, and none that a loaded machine keeps waiting. */
const GRACE_MS = 10_000;

/** A command that was started, as the test sees it. */
export interface LocalCommand extends StartedCommand {
  readonly spec: CommandSpec;
  readonly child: ChildProcessWithoutNullStreams;
  /** Bytes of its standard output that the sink was given, the last of them perhaps not taken yet. */
  readonly given: number;
  /** Its time is up: what `timeoutMs` comes to, at a moment that the test chooses. */
  expire(): void;
  /** The connection to its runner is lost for good: nothing comes of it any more, no exit either. */
  lose(error: Error): void;
}

export interface LocalStarter extends CommandStarter {
  /** In the order in which they were started. */
  readonly started: readonly LocalCommand[];
  /** Ends what still runs. */
  [Symbol.asyncDispose](): Promise<void>;
}

export interface LocalStarterOptions {
  /** What a shell command runs with. Default: /bin/sh. */
  readonly shell?: readonly [string, ...string[]];
  /** A start is refused with what this gives. */
  readonly refuse?: (spec: CommandSpec) => Error | undefined;
}

export function localStarter({ shell = ["/bin/sh"], refuse }: LocalStarterOptions = {}): LocalStarter {
  const started: LocalCommand[] = [];
  return {
    started,
    start(spec, sink) {
      const refusal = refuse?.(spec);
      if (refusal) return { end: Promise.reject(refusal), signal() {}, cancel() {} };
      const command = startLocally(spec, sink, shell);
      started.push(command);
      return command;
    },
    async [Symbol.asyncDispose]() {
      for (const { child } of started) signalTree(child, "KILL");
      await Promise.all(started.map(({ child }) => isOver(child) || once(child, "close")));
    },
  };
}

function startLocally(spec: CommandSpec, sink: CommandSink, shell: readonly [string, ...string[]]): LocalCommand {
  const [program = "", ...args] = "argv" in spec.command ? spec.command.argv : [...shell, "-c", spec.command.shell];
  // A group of its own, so that a signal reaches all of it.
  const child = spawn(program, args, {
    detached: true,
    env: { ...process.env, ...spec.env },
    ...(spec.cwd === undefined ? {} : { cwd: spec.cwd }),
  });
  const lost = Promise.withResolvers<never>();
  let isLost = false;
  let given = 0;
  let cause: Pick<Extract<Exit, { reason: "cancelled" }>, "reason" | "by"> | { reason: "timeout"; timeoutMs: number };
  let force: NodeJS.Timeout | undefined;

  function end(why: typeof cause): void {
    cause ??= why;
    signalTree(child, "TERM");
    force ??= setTimeout(() => signalTree(child, "KILL"), GRACE_MS);
  }
  const { timeoutMs } = spec;
  const timer =
    timeoutMs === undefined ? undefined : setTimeout(() => end({ reason: "timeout", timeoutMs }), timeoutMs);

  async function read(stream: "stdout" | "stderr"): Promise<number> {
    let bytes = 0;
    for await (const chunk of child[stream] as AsyncIterable<Buffer>) {
      if (isLost) break;
      bytes += chunk.length;
      if (stream === "stdout") given += chunk.length;
      await sink.output(stream, chunk);
    }
    return bytes;
  }

  async function toTheEnd(): Promise<Exit> {
    const ended = Promise.withResolvers<{ code: number | null; signal: NodeJS.Signals | null } | Error>();
    child.once("exit", (code, signal) => ended.resolve({ code, signal }));
    child.once("error", (error) => ended.resolve(error));
    const outputs = Promise.all([read("stdout"), read("stderr")]);
    outputs.catch(() => {});
    const how = await ended.promise;
    clearTimeout(timer);
    const common = { type: "exit", bytes: { stdout: 0, stderr: 0 } } as const;
    if (how instanceof Error)
      return { ...common, reason: "failed-to-start", code: 127, stage: "command", message: how.message };
    const [stdout, stderr] = await outputs;
    clearTimeout(force);
    const bytes = { stdout, stderr };
    const signal = how.signal && (how.signal.slice(3) as SignalName);
    if (cause) return { ...common, ...cause, bytes, code: how.code, signal };
    if (signal) return { ...common, reason: "signaled", bytes, code: null, signal };
    return { ...common, reason: "exited", bytes, code: how.code ?? 0 };
  }

  const over = toTheEnd();
  void feed(child, spec.stdin, () => isLost);
  return {
    spec,
    child,
    get given() {
      return given;
    },
    end: Promise.race([over, lost.promise]),
    signal: (name) => signalTree(child, name),
    cancel: () => end({ reason: "cancelled", by: "run" }),
    expire: () => end({ reason: "timeout", timeoutMs: timeoutMs ?? 0 }),
    lose(error) {
      isLost = true;
      clearTimeout(timer);
      lost.reject(error);
    },
  };
}

/** Gives the child its input, no faster than it reads; a lost child gets no end of it. */
async function feed(
  { stdin }: ChildProcessWithoutNullStreams,
  source: AsyncIterable<Uint8Array> = Readable.from([]),
  isLost: () => boolean,
): Promise<void> {
  // A child that is over, or has closed its input, takes no more: what is left is not its concern.
  stdin.on("error", () => {});
  for await (const piece of source) {
    await new Promise<void>((resolve) => stdin.write(piece, () => resolve()));
    if (isLost() || stdin.destroyed) return;
  }
  if (!isLost()) stdin.end();
}

const isOver = (child: ChildProcessWithoutNullStreams): boolean =>
  child.pid === undefined || child.exitCode !== null || child.signalCode !== null;

function signalTree({ pid }: ChildProcessWithoutNullStreams, name: SignalName): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, `SIG${name}`);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}

// One job in the keeper: runs its steps one after the other, journals what they write, and ends with the exit.
import { STDERR, STDOUT } from "../../protocol/chunk.ts";
import type { CancelledBy, Exit, SignalName } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest, JournalControl } from "../../protocol/messages.ts";
import type { Backend, RunningCommand, Settled } from "./backends/backend.ts";
import type { Journal } from "./journal.ts";

/** Stdin taken, but not told yet: the caller waits for no less than a whole window. */
const RECEIVED_EVERY = limits.windowMinimum;
/** Messages name programs and paths of any length, and a control chunk holds 64 KiB. */
const MESSAGE_CHARACTERS = 1_000;
const brief = (text: string): string =>
  text.length > MESSAGE_CHARACTERS ? `${text.slice(0, MESSAGE_CHARACTERS)}…` : text;

/** Why somebody other than the process itself ends it. */
export type CancelCause = { readonly reason: "cancelled"; readonly by: CancelledBy } | { readonly reason: "lease" };
type Cause = CancelCause | { readonly reason: "timeout"; readonly timeoutMs: number };

export interface Job {
  /** False from before the exit is in the journal. */
  readonly running: boolean;
  /** Resolves once the exit is in the journal. */
  readonly over: Promise<void>;
  writeStdin(bytes: Uint8Array): Promise<void>;
  endStdin(): void;
  signal(name: SignalName): void;
  cancel(cause: CancelCause): void;
  /** KILL, now, without waiting. */
  kill(): void;
}

/** `environment` and `cwd` are final; a `failure` to prepare them is the job's exit. */
export function startJob(
  request: JobRequest,
  journal: Journal,
  backend: Backend,
  place: { readonly cwd: string; readonly env: Readonly<Record<string, string>> } | { readonly failure: string },
  on: {
    /** A process group was started. */
    readonly group: (group: number) => void;
    /** The exit can be read from now on. */
    readonly ended: () => void;
  },
): Job {
  const bytes = { stdout: 0, stderr: 0 };
  let running = true;
  let cause: Cause | undefined;
  let command: RunningCommand | undefined;
  let markedAt = 0;
  let stdinTaken = 0;
  let stdinTold = 0;
  /** Stdin may come before the process is up. */
  const stdinReady = Promise.withResolvers<RunningCommand | undefined>();

  const control = (message: JournalControl): void => journal.appendControl(message);

  function end(why: Cause): void {
    if (!running || cause) return;
    cause = why;
    journal.waitForNobody();
    void command?.kill(request.graceMs);
  }

  async function pump(source: NodeJS.ReadableStream, stream: typeof STDOUT | typeof STDERR): Promise<void> {
    const name = stream === STDOUT ? "stdout" : "stderr";
    await new Promise<void>((resolve) => {
      source.on("data", (data: Buffer) => {
        const now = Date.now();
        // The distance: a clock that was set back would end the marks for as long.
        if (Math.abs(now - markedAt) >= limits.markEveryMs) {
          markedAt = now;
          control({ type: "mark", at: now });
        }
        bytes[name] += data.length;
        journal.appendData(stream, data);
        if (journal.full) {
          source.pause();
          void journal.room().then(() => source.resume());
        }
      });
      source.once("close", resolve);
      source.once("end", resolve);
      source.once("error", () => resolve());
    });
  }

  async function runStep(index: number): Promise<Settled> {
    if ("failure" in place)
      return { kind: "failed", heldOpen: false, stage: "workdir", code: null, message: place.failure };
    const step = request.steps[index];
    if (!step) throw new RangeError(`no step ${index}`);
    if (request.steps.length > 1) control({ type: "step", at: Date.now(), index, of: request.steps.length });
    command = await backend.start({ command: step, env: place.env, cwd: place.cwd, stdin: request.stdin });
    if (command.group !== undefined) on.group(command.group);
    const outputs = [pump(command.stdout, STDOUT), pump(command.stderr, STDERR)];
    command.stdin?.on("error", () => {});
    stdinReady.resolve(command);
    // A cancellation that came while the process was being started found nothing to kill.
    if (cause) void command.kill(request.graceMs);
    const settled = await command.settled;
    await Promise.all(outputs);
    if (cause) await command.kill(request.graceMs);
    return settled;
  }

  async function run(): Promise<void> {
    control({ type: "started", at: Date.now(), attemptId: request.attemptId });
    const { timeoutMs } = request;
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => end({ reason: "timeout", timeoutMs }), timeoutMs);
    let settled: Settled | undefined;
    let step = 0;
    try {
      for (; step < request.steps.length && !cause; step++) {
        settled = await runStep(step);
        if (settled.kind !== "exited" || settled.code !== 0) break;
      }
    } finally {
      clearTimeout(timer);
    }
    stdinReady.resolve(undefined);
    const last = request.steps.length > 1 && settled ? Math.min(step, request.steps.length - 1) : undefined;
    if (settled?.kind === "failed" && settled.stage === "command") explain(settled.message);
    finish({ ...exitOf(settled, cause, bytes, last), hash: journal.tally.hash() });
  }

  function finish(exit: Exit): void {
    running = false;
    on.ended();
    journal.appendControl(exit);
    journal.close();
  }

  /** A missing command is told where a shell would tell it, too. */
  function explain(message: string): void {
    const line = Buffer.from(`sortie: ${brief(message)}\n`);
    bytes.stderr += line.length;
    journal.appendData(STDERR, line);
  }

  function received(count: number): void {
    stdinTaken += count;
    if (stdinTaken - stdinTold < RECEIVED_EVERY || !running) return;
    stdinTold = stdinTaken;
    control({ type: "received", offset: stdinTold });
  }

  const over = run().catch((error: unknown) => {
    // A bug must not leave readers waiting for ever, nor become a code the process never had.
    finish({
      type: "exit",
      reason: "lost",
      code: null,
      bytes,
      hash: journal.tally.hash(),
      message: brief(`the keeper failed: ${String(error)}`),
    });
  });

  return {
    get running() {
      return running;
    },
    over,
    async writeStdin(data) {
      const stdin = (await stdinReady.promise)?.stdin;
      if (stdin?.writable) {
        // Called also for what a closed pipe did not take: when the process goes away without reading, the rest is
        // thrown away, as a shell does.
        await new Promise<void>((resolve) => stdin.write(data, () => resolve()));
      }
      received(data.length);
    },
    endStdin: () => void stdinReady.promise.then((started) => started?.stdin?.end()),
    signal: (name) => command?.signal(name),
    cancel: end,
    kill: () => command?.killNow(),
  };
}

/** Why, before how: what someone else ended is never told as the process's own doing. */
function exitOf(
  settled: Settled | undefined,
  cause: Cause | undefined,
  bytes: { stdout: number; stderr: number },
  step: number | undefined,
): Exit {
  const common = {
    type: "exit" as const,
    bytes,
    ...(settled?.heldOpen ? { heldOpen: true as const } : {}),
    ...(step === undefined ? {} : { step }),
  };
  if (cause) {
    const ended = {
      code: settled?.kind === "exited" ? settled.code : null,
      signal: settled?.kind === "signaled" ? settled.signal : null,
    };
    switch (cause.reason) {
      case "timeout":
        return { ...common, ...ended, reason: "timeout", timeoutMs: cause.timeoutMs };
      case "lease":
        return { ...common, ...ended, reason: "lease" };
      case "cancelled":
        return { ...common, ...ended, reason: "cancelled", by: cause.by };
    }
  }
  switch (settled?.kind) {
    case "exited":
      return { ...common, reason: "exited", code: settled.code };
    case "signaled":
      return { ...common, reason: "signaled", code: null, signal: settled.signal };
    case "failed":
      return {
        ...common,
        reason: "failed-to-start",
        code: settled.code,
        stage: settled.stage,
        message: brief(settled.message),
      };
    default:
      return { ...common, reason: "lost", code: null, message: brief(settled?.message ?? "no step was run") };
  }
}

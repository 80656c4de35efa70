// One job in the keeper: runs its steps one after the other, journals what they write, and ends with the exit.
import { STDERR, STDOUT } from "../../protocol/chunk.ts";
import type { CancelledBy, Ending, Exit, SignalName } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest, JournalControl } from "../../protocol/messages.ts";
import { type Backend, Refused, type RunningCommand, type Settled, type Site } from "./backends/backend.ts";
import type { Journal } from "./journal.ts";
import { noteTaker } from "./notes.ts";

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
  /** Once it is over: removes what it left where it ran; false where it could not. Never rejects. */
  close(): Promise<boolean>;
}

/** A `failure` to make its working directory is the job's exit. */
export function startJob(
  request: JobRequest,
  journal: Journal,
  backend: Backend,
  work: { readonly folder: string } | { readonly failure: string },
  on: {
    /** What a keeper after this one needs to end what the job leaves. */
    readonly mark: (text: string) => void;
    /** The exit can be read from now on. */
    readonly ended: () => void;
  },
): Job {
  const bytes = { stdout: 0, stderr: 0 };
  let running = true;
  let cause: Cause | undefined;
  let site: Site | undefined;
  let command: RunningCommand | undefined;
  let ending: Promise<Ending> | undefined;
  const opening = new AbortController();
  let markedAt = 0;
  let stdinTaken = 0;
  let stdinTold = 0;
  /** Stdin may come before the process is up. */
  const stdinReady = Promise.withResolvers<RunningCommand | undefined>();

  const control = (message: JournalControl): void => journal.appendControl(message);
  /** What a site still says once the exit stands in the journal, is said to nobody. */
  const note = (message: JournalControl): void => {
    if (running) control(message);
  };

  function end(why: Cause): void {
    if (!running || cause) return;
    cause = why;
    journal.waitForNobody();
    opening.abort();
    kill();
  }

  /** A cancellation that comes while the command is being started finds nothing to kill, and is asked for again. */
  function kill(): void {
    if (cause && command) ending = command.kill(request.graceMs);
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
    const step = request.steps[index];
    if (!step || !site) throw new RangeError(`no step ${index}`);
    if (request.steps.length > 1) control({ type: "step", at: Date.now(), index, of: request.steps.length });
    command = await site.start(step, request.stdin, opening.signal);
    const outputs = [pump(command.stdout, STDOUT), pump(command.stderr, STDERR)];
    command.stdin?.on("error", () => {});
    stdinReady.resolve(command);
    kill();
    const settled = await command.settled;
    await Promise.all(outputs);
    await ending;
    return settled;
  }

  /** Undefined once it is open; else why not. */
  async function openSite(): Promise<Settled | undefined> {
    if ("failure" in work)
      return { kind: "failed", heldOpen: false, stage: "workdir", code: null, message: work.failure };
    try {
      site = await backend.open(request, work.folder, { note: noteTaker(note), mark: on.mark }, opening.signal);
      return undefined;
    } catch (error) {
      if (error instanceof Refused) return { kind: "failed", heldOpen: false, ...error.refusal };
      if (opening.signal.aborted) return undefined;
      throw error;
    }
  }

  async function run(): Promise<void> {
    control({ type: "started", at: Date.now(), attemptId: request.attemptId });
    const { timeoutMs } = request;
    const timer =
      timeoutMs === undefined ? undefined : setTimeout(() => end({ reason: "timeout", timeoutMs }), timeoutMs);
    let settled: Settled | undefined;
    let step = 0;
    try {
      settled = await openSite();
      for (; step < request.steps.length && !cause && site; step++) {
        settled = await runStep(step);
        if (settled.kind !== "exited" || settled.code !== 0) break;
      }
    } finally {
      clearTimeout(timer);
    }
    stdinReady.resolve(undefined);
    await site?.end();
    const last = request.steps.length > 1 && command ? Math.min(step, request.steps.length - 1) : undefined;
    if (settled?.kind === "failed" && settled.stage === "command") explain(settled.message);
    finish({ ...exitOf(settled, cause, await ending, bytes, last), hash: journal.tally.hash() });
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
    close: async () => site?.close() ?? true,
  };
}

/** Why, before how: what someone else ended is never told as the process's own doing. */
function exitOf(
  settled: Settled | undefined,
  cause: Cause | undefined,
  ending: Ending | undefined,
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
      ...(ending ? { ending } : {}),
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
      return {
        ...common,
        reason: "exited",
        code: settled.code,
        ...(settled.ambiguous ? { ambiguous: settled.ambiguous } : {}),
      };
    case "signaled":
      return { ...common, reason: "signaled", code: null, signal: settled.signal };
    case "out-of-memory":
      return { ...common, reason: "out-of-memory", code: settled.code, signal: settled.signal };
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

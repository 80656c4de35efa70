// One job in the keeper: runs its steps one after the other, journals what they write, and ends with the exit. A command
// of a driven job is one of these, too, on that one's site. keeper.ts starts it.
import { STDERR, STDOUT } from "../../protocol/chunk.ts";
import type { Ending, Exit, SignalName } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import type { Redaction } from "../../protocol/redact.ts";
import { Refused, type RunningCommand, type Settled, type Site, type SiteEvents } from "./backends/backend.ts";
import { brief, type Cause, exitOf, jobEnd } from "./job-end.ts";
import type { Journal } from "./journal.ts";
import { noteTaker } from "./notes.ts";

/** Stdin taken, but not told yet: the caller waits for no less than a whole window. */
const RECEIVED_EVERY = limits.windowMinimum;

type Output = typeof STDOUT | typeof STDERR;

/** What a job with steps needs of a site. */
export type JobSite = Pick<Site, "start" | "end" | "close">;
/** Opens a job's site, as Backend.open() does. */
export type OpenSite<Opened = Site> = (note: SiteEvents["note"], cancelled: AbortSignal) => Promise<Opened>;

export interface Job {
  /** False from before the exit is in the journal. */
  readonly running: boolean;
  /** Resolves once the exit is in the journal. */
  readonly over: Promise<void>;
  signal(name: SignalName): void;
  /** Ends it, with its own grace or another; the first cause is the one that is told. */
  cancel(cause: Cause, graceMs?: number): void;
  /** KILL, now, without waiting. */
  kill(): void;
  /** Once it is over: removes what it left where it ran; false where it could not. Never rejects. */
  close(): Promise<boolean>;
}

export interface StepsJob extends Job {
  writeStdin(bytes: Uint8Array): Promise<void>;
  endStdin(): void;
}

/** `ended` is called when the exit is about to be written. */
export function startJob(
  request: JobRequest,
  journal: Journal,
  open: OpenSite<JobSite>,
  ended: (exit: Exit) => void,
  redaction?: Redaction,
): StepsJob {
  const bytes = { stdout: 0, stderr: 0 };
  const end = jobEnd(journal, bytes, ended, redaction);
  /** One an output for all steps: what one step begins and the next goes on with is whole to those who read it. */
  const redacted = redaction && { [STDOUT]: redaction.stream(), [STDERR]: redaction.stream() };
  let { graceMs } = request;
  let site: JobSite | undefined;
  let command: RunningCommand | undefined;
  let ending: Promise<Ending> | undefined;
  let stepTimedOut = false;
  const opening = new AbortController();
  let markedAt = 0;
  let stdinTaken = 0;
  let stdinTold = 0;
  /** Stdin may come before the process is up. */
  const stdinReady = Promise.withResolvers<RunningCommand | undefined>();

  function cancel(cause: Cause, withinMs: number = graceMs): boolean {
    if (!end.begin(cause)) return false;
    graceMs = withinMs;
    opening.abort();
    kill();
    return true;
  }

  /** A cancellation that comes while the command is being started finds nothing to kill, and is asked for again. */
  function kill(): void {
    if (end.cause && command) ending = command.kill(graceMs);
  }

  /** The timer of a time-out; undefined where there is none. */
  function timeOut(
    timeoutMs: number | undefined,
    then: (began: boolean) => void = () => {},
  ): NodeJS.Timeout | undefined {
    if (timeoutMs === undefined) return undefined;
    return setTimeout(() => then(cancel({ reason: "timeout", timeoutMs })), timeoutMs);
  }

  function append(stream: Output, data: Uint8Array): void {
    if (data.length === 0) return;
    bytes[stream === STDOUT ? "stdout" : "stderr"] += data.length;
    journal.appendData(stream, data);
  }

  async function pump(source: NodeJS.ReadableStream, stream: Output): Promise<void> {
    await new Promise<void>((resolve) => {
      source.on("data", (data: Buffer) => {
        const now = Date.now();
        // The distance: a clock that was set back would end the marks for as long.
        if (Math.abs(now - markedAt) >= limits.markEveryMs) {
          markedAt = now;
          end.control({ type: "mark", at: now });
        }
        append(stream, redacted ? redacted[stream].push(data) : data);
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
    const { timeoutMs, ...asked } = step;
    if (request.steps.length > 1) end.control({ type: "step", at: Date.now(), index, of: request.steps.length });
    const timer = timeOut(timeoutMs, (began) => {
      stepTimedOut = began;
    });
    try {
      command = await site.start({ command: asked, stdin: request.stdin }, opening.signal);
      const outputs = [pump(command.stdout, STDOUT), pump(command.stderr, STDERR)];
      command.stdin?.on("error", () => {});
      stdinReady.resolve(command);
      kill();
      const settled = await command.settled;
      await Promise.all(outputs);
      await ending;
      return settled;
    } finally {
      clearTimeout(timer);
    }
  }

  /** Undefined once it is open; else why not. */
  async function openSite(): Promise<Settled | undefined> {
    try {
      site = await open(noteTaker(end.control, redaction), opening.signal);
      return undefined;
    } catch (error) {
      if (error instanceof Refused) return { kind: "failed", heldOpen: false, ...error.refusal };
      if (opening.signal.aborted) return undefined;
      throw error;
    }
  }

  async function run(): Promise<void> {
    end.control({ type: "started", at: Date.now(), attemptId: request.attemptId });
    const timer = timeOut(request.timeoutMs);
    let settled: Settled | undefined;
    let step = 0;
    try {
      settled = await openSite();
      for (; step < request.steps.length && !end.cause && site; step++) {
        settled = await runStep(step);
        if (end.cause || settled.kind !== "exited" || settled.code !== 0) break;
      }
    } finally {
      clearTimeout(timer);
    }
    stdinReady.resolve(undefined);
    await site?.end();
    const telling = request.steps.length > 1 ? command !== undefined : stepTimedOut;
    const last = telling ? Math.min(step, request.steps.length - 1) : undefined;
    if (redacted) for (const stream of [STDOUT, STDERR] as const) append(stream, redacted[stream].end());
    if (settled?.kind === "failed" && settled.stage === "command") explain(settled.message);
    end.write({ ...exitOf(settled, end.cause, await ending, bytes, last), hash: journal.tally.hash() });
  }

  /** A missing command is told where a shell would tell it, too. */
  function explain(message: string): void {
    append(STDERR, Buffer.from(`sortie: ${brief(redaction ? redaction.text(message) : message)}\n`));
  }

  function received(count: number): void {
    stdinTaken += count;
    if (stdinTaken - stdinTold < RECEIVED_EVERY || !end.running) return;
    stdinTold = stdinTaken;
    end.control({ type: "received", offset: stdinTold });
  }

  const over = end.after(run());
  return {
    get running() {
      return end.running;
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
    cancel,
    kill: () => command?.killNow(),
    close: async () => site?.close() ?? true,
  };
}

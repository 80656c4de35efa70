// How a job ends, once: the first cause wins, and its exit is the last that its journal gets. job.ts and driven-job.ts use it.
import type { CancelledBy, Ending, Exit } from "../../protocol/exit.ts";
import type { JournalControl } from "../../protocol/messages.ts";
import type { Redaction } from "../../protocol/redact.ts";
import { redactExit } from "../../protocol/redact-exit.ts";
import type { Settled } from "./backends/backend.ts";
import type { Journal } from "./journal.ts";

/** Why somebody other than the process itself ends it. */
export type Cause =
  | { readonly reason: "cancelled"; readonly by: CancelledBy }
  | { readonly reason: "lease" }
  | { readonly reason: "timeout"; readonly timeoutMs: number };

/** What an exit counts of both outputs. */
export interface Bytes {
  stdout: number;
  stderr: number;
}

export interface JobEnd {
  /** False from before the exit is in the journal. */
  readonly running: boolean;
  readonly cause: Cause | undefined;
  control(message: JournalControl): void;
  /** False where it has a cause already, or is over. */
  begin(cause: Cause): boolean;
  /** Writes the exit. */
  write(exit: Exit): void;
  /** Resolves once the exit is written: what `run` failed to do of it is a bug, and told as one. */
  after(run: Promise<void>): Promise<void>;
}

/** `ended` is called when the exit is about to be written. */
export function jobEnd(
  journal: Journal,
  bytes: Bytes,
  ended: (exit: Exit) => void,
  redaction: Redaction | undefined,
): JobEnd {
  let running = true;
  let cause: Cause | undefined;

  function write(exit: Exit): void {
    running = false;
    const told = cut(redaction ? redactExit(exit, redaction) : exit);
    ended(told);
    journal.appendControl(told);
    journal.close();
  }

  return {
    get running() {
      return running;
    },
    get cause() {
      return cause;
    },
    // What a site still says once the exit stands in the journal, is said to nobody.
    control(message) {
      if (running) journal.appendControl(message);
    },
    begin(why) {
      if (!running || cause) return false;
      cause = why;
      journal.waitForNobody();
      return true;
    },
    write,
    after: (run) =>
      run.catch((error: unknown) => {
        // A bug must not leave readers waiting for ever, nor become a code the process never had.
        const message = `the keeper failed: ${String(error)}`;
        write({ type: "exit", reason: "lost", code: null, bytes, hash: journal.tally.hash(), message });
      }),
  };
}

/** Messages name programs and paths of any length, and a control chunk holds 64 KiB. */
const MESSAGE_CHARACTERS = 1_000;
export const brief = (text: string): string =>
  text.length > MESSAGE_CHARACTERS ? `${text.slice(0, MESSAGE_CHARACTERS)}…` : text;

/** Once its secrets are out: a part of one would not be found. */
const cut = (exit: Exit): Exit =>
  "message" in exit && exit.message !== undefined ? { ...exit, message: brief(exit.message) } : exit;

/** Why, before how: what someone else ended is never told as the process's own doing. */
export function exitOf(
  settled: Settled | undefined,
  cause: Cause | undefined,
  ending: Ending | undefined,
  bytes: Bytes,
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
        message: settled.message,
      };
    default:
      return { ...common, reason: "lost", code: null, message: settled?.message ?? "no step was run" };
  }
}

// What a backend is: it runs the commands of a job somewhere and gives their pipes. The keeper knows no backend by name.
//
// The order of calls: open() once a job; on its site start() once for each step, one after the other: outputs are read to
// their end and stdin is written, in any order and at the same time, and settled resolves after both outputs ended. kill()
// and signal() at any time, also after it is gone. end() once after the last command settled, then close() once the exit
// is in the journal. For a driven job enter() comes before the first start(), and several commands may be started, and
// run, at the same time.
import type { Readable, Writable } from "node:stream";
import type { Command, Environment } from "../../../protocol/command.ts";
import type { Confinement } from "../../../protocol/confinement.ts";
import type { Ending, SignalName, Stage } from "../../../protocol/exit.ts";
import type { AttemptId } from "../../../protocol/ids.ts";
import type { JobRequest } from "../../../protocol/messages.ts";
import type { Redaction } from "../../../protocol/redact.ts";

/** How the command itself ended, before the keeper adds why. */
export type Ended =
  /** `ambiguous`: a code of 128+n that may be signal n. */
  | { readonly kind: "exited"; readonly code: number; readonly ambiguous?: true }
  | { readonly kind: "signaled"; readonly signal: SignalName }
  | { readonly kind: "out-of-memory"; readonly code: number | null; readonly signal: SignalName | null }
  | ({ readonly kind: "failed" } & Refusal)
  | { readonly kind: "lost"; readonly message: string };

/** Why a command was never started. Codes are a shell's: 127 where there is none, 126 where it cannot be executed. */
export interface Refusal {
  readonly stage: Stage;
  readonly code: 126 | 127 | null;
  /** One sentence without its full stop: what, where, and what to do. No variable's value, no secret. */
  readonly message: string;
}

/** What open() rejects with: nothing of the job was started. */
export class Refused extends Error {
  readonly refusal: Refusal;
  constructor(stage: Stage, message: string, options?: ErrorOptions) {
    super(message, options);
    this.refusal = { stage, code: null, message };
  }
}

/** `heldOpen`: something it started kept an output open, and was ended. */
export type Settled = Ended & { readonly heldOpen: boolean };

export interface RunningCommand {
  /** Absent where none was asked for, or nothing was started. Errors (EPIPE) destroy it and are never thrown. */
  readonly stdin: Writable | undefined;
  /** Real pipes that honour back-pressure: nothing is read that is not consumed. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves once, after both outputs ended and nothing of the command is left; never rejects. */
  readonly settled: Promise<Settled>;
  /** To the whole tree. */
  signal(name: SignalName): void;
  /** TERM to the whole tree, KILL to what is left after the grace. Idempotent; resolves when the tree is gone, or nothing more can be done. */
  kill(graceMs: number): Promise<Ending>;
  /** KILL, now, without waiting, as far as that can be done: for a keeper that is about to leave. */
  killNow(): void;
}

/** One command, and what it is started with. */
export interface SiteCommand {
  readonly command: Command;
  readonly stdin: boolean;
  /** Of a command of a driven job; a step has nothing of its own. */
  readonly own?: OwnPart;
}

/** What a command of a driven job has of its own in the job's site. */
export interface OwnPart {
  readonly attemptId: AttemptId;
  /** Added to the job's. */
  readonly env: Environment;
  /** Absolute, or relative to the job's directory, where it runs without one. */
  readonly cwd: string | undefined;
  /** As SiteEvents.mark, for what this command alone leaves beyond what the job's own mark finds. */
  mark(text: string): void;
}

/** Where the commands of one job run. */
export interface Site {
  /**
   * The directory where the commands of a driven job run, which is there from then on. Rejects with Refused where it cannot
   * be; when `cancelled` is aborted it rejects soon, with anything.
   */
  enter(cancelled: AbortSignal): Promise<string>;
  /**
   * Resolves once the command was started, or could not be: what goes wrong is `settled`, never a rejection. When
   * `cancelled` is aborted before it was started it resolves soon, with a command that never was, and starts nothing.
   */
  start(command: SiteCommand, cancelled: AbortSignal): Promise<RunningCommand>;
  /** Ends what of the job may still say something (services), and resolves after its last note. Never rejects. */
  end(): Promise<void>;
  /**
   * Ends and removes whatever is left of the job. False where it could not, because an engine or a host does not answer:
   * then the mark is kept, and reap() is asked until nothing is left. Never rejects, and is bounded.
   */
  close(): Promise<boolean>;
}

/** What a job tells while its site is opened and used. */
export interface SiteEvents {
  /** A line or a few for the job's log, that are no output of it: a pull's progress, a service's lines. */
  note(from: string, text: string): void;
  /**
   * What a later keeper needs to end what this job leaves, if this one dies: called before anything is made, and again
   * when there is more to know. At most 1,000 bytes of one line, without secrets. It is forgotten once close() is done.
   */
  mark(text: string): void;
  /** Takes the job's secrets out of what comes in pieces, before it becomes notes; what note() gets is looked at anyway. */
  readonly redaction?: Redaction | undefined;
}

export interface Backend {
  /**
   * Prepares what the commands of a job need. `workspace` is the job's own directory on this machine, which is there and
   * empty. Rejects with Refused where it cannot; when `cancelled` is aborted it rejects soon, with anything, and has
   * given back what it made. `confine` is for a container.
   */
  open(
    request: JobRequest,
    workspace: string,
    events: SiteEvents,
    cancelled: AbortSignal,
    confine?: Confinement,
  ): Promise<Site>;
  /**
   * Ends what an attempt left when its keeper died, by the last mark of it, and resolves when nothing is left. Rejects
   * where it cannot tell (the engine does not answer), and is asked again later.
   */
  reap(attempt: AttemptId, mark: string): Promise<void>;
  /** Gives back what the backend itself holds. */
  close(): Promise<void>;
}

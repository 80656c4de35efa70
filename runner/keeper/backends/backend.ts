// What a backend is: it starts one command somewhere and gives its pipes. The keeper knows no backend by name.
//
// The order of calls: start() once; then outputs are read to their end and stdin is written, in any order and at
// the same time; settled resolves after both outputs ended. kill() and signal() at any time, also after it is gone. A backend isolates nothing: the keeper gives it a directory and an environment.
import type { Readable, Writable } from "node:stream";
import type { SignalName } from "../../../protocol/exit.ts";
import type { Command } from "../../../protocol/messages.ts";

export interface CommandSpec {
  readonly command: Command;
  /** The whole environment: nothing else is inherited. Has SORTIE_ATTEMPT_ID, which marks the process tree. */
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string;
  readonly stdin: boolean;
}

/** How the command itself ended, before the keeper adds why. */
export type Ended =
  | { readonly kind: "exited"; readonly code: number }
  | { readonly kind: "signaled"; readonly signal: SignalName }
  | {
      readonly kind: "failed";
      readonly stage: "workdir" | "command" | "spawn";
      readonly code: 126 | 127 | null;
      readonly message: string;
    }
  | { readonly kind: "lost"; readonly message: string };

/** `heldOpen`: something it started kept an output open, and was ended. */
export type Settled = Ended & { readonly heldOpen: boolean };

export interface RunningCommand {
  /** The process group it leads on this machine; absent where it has none. A keeper that dies leaves it by this. */
  readonly group?: number | undefined;
  /** Absent where the spec has no stdin, or nothing was started. Errors (EPIPE) destroy it and are never thrown. */
  readonly stdin: Writable | undefined;
  /** Real pipes that honour back-pressure: nothing is read that is not consumed. */
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Resolves once, after both outputs ended and nothing of the command's group is left; never rejects. */
  readonly settled: Promise<Settled>;
  /** To the whole tree. */
  signal(name: SignalName): void;
  /** TERM to the whole tree, KILL to what is left after the grace. Idempotent; resolves when the tree is gone. */
  kill(graceMs: number): Promise<void>;
  /** KILL to the command's group, now, without waiting: for a keeper that is about to leave. */
  killNow(): void;
}

export interface Backend {
  /** Resolves once the process was started, or could not be: what goes wrong is `settled`, never a rejection. */
  start(spec: CommandSpec): Promise<RunningCommand>;
  /** Ends what an attempt left behind after its last command settled: daemons that closed their outputs. */
  sweep(attemptId: string): Promise<void>;
  /** Gives back what the backend itself holds. */
  close(): Promise<void>;
}

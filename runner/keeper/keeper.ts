// The keeper owns what must outlive a connection: processes, their pipes, their journals. A session reaches it
// through this interface only, and the interface passes plain data and bytes only, so the keeper can be a
// process of its own.
import type { CancelledBy, SignalName } from "../../protocol/exit.ts";
import type { AttemptId } from "../../protocol/ids.ts";
import type { JobRequest } from "../../protocol/messages.ts";

/** What a session may ask of the keeper. All promises reject with a SortieError only. */
export interface Keeper {
  /**
   * Starts the job and resolves once its journal exists. Whatever goes wrong afterwards is the journal's exit,
   * never a rejection. Rejects with DUPLICATE when this attempt was started before.
   */
  start(request: JobRequest): Promise<void>;
  /**
   * Follows the journal from `offset` to its exit, which is its last chunk. Nothing before an acknowledged offset
   * can be read again.
   */
  read(attemptId: AttemptId, offset: number): JournalReader;
  /** Everything before `offset` is stored by the owner and may be forgotten. */
  acknowledge(attemptId: AttemptId, offset: number): void;
  /**
   * Resolves when the process's pipe took the bytes, or when it no longer reads and they were thrown away. Writes, and
   * the end, keep the order in which they were called, without waiting for each other.
   */
  writeStdin(attemptId: AttemptId, bytes: Uint8Array): Promise<void>;
  endStdin(attemptId: AttemptId): void;
  /** Sends the signal to the whole process tree; nothing where the job is over. */
  signal(attemptId: AttemptId, name: SignalName): void;
  /** TERM to the tree, the grace, KILL to what is left. The first cause wins; cancelling what is over does nothing. */
  cancel(attemptId: AttemptId, cause: CancelCause): void;
  /** Ends the job if it runs, and removes its journal and its directory; resolves when nothing of it is left. */
  forget(attemptId: AttemptId): Promise<void>;
  /** Whether the attempt's processes may still run; false from before its exit can be read. */
  isRunning(attemptId: AttemptId): boolean;
  /** Cancels every job with its grace; resolves when the exit of each can be read. */
  cancelAll(): Promise<void>;
  /** Forgets every job, and gives back what the keeper holds. */
  close(): Promise<void>;
  /** KILL to the processes of every job, now, without waiting. */
  kill(): void;
}

export interface CancelCause {
  readonly reason: "cancelled";
  readonly by: CancelledBy;
}

export interface JournalReader {
  /** The next bytes of the journal, `most` at most, in pieces; `undefined` after the exit chunk. One read at a time. */
  read(most: number): Promise<readonly Uint8Array[] | undefined>;
  /** Stops following; a read that waits resolves with `undefined`. */
  close(): void;
}

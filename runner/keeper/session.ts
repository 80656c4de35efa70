// One session of a job: its journal to the caller, and the caller's stdin and control the other way, both at once. The
// window is kept here: at most so many bytes are under way that the caller has not stored yet. A session that is lost
// ends nothing but itself; kept-job.ts starts the lease.
import * as v from "valibot";
import type { RawCarriage } from "../../protocol/call.ts";
import { ChunkDecoder, STDIN } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { CallerControl } from "../../protocol/messages.ts";
import type { Journal } from "./journal.ts";
import type { KeptJob, Session } from "./kept-job.ts";

/** Bytes sent at once: several pieces of a pipe, so that a busy job costs few frames. */
const MOST_AT_ONCE = 256 * 1024;

/**
 * Serves the session until everything up to the exit was acknowledged; `acknowledged` is then called, for the owner's.
 * Rejects when the caller leaves before, or breaks the protocol.
 */
export async function serveSession(
  kept: KeptJob,
  session: Session,
  carriage: RawCarriage,
  {
    offset,
    window,
    acknowledged,
  }: { readonly offset: number; readonly window: number; readonly acknowledged: (kept: KeptJob) => void },
): Promise<void> {
  const progress = new Progress(offset, kept.journal);
  const reader = kept.journal.read(offset);
  const leave = (): void => {
    reader.close();
    progress.leave();
  };
  const end = (): void => {
    leave();
    carriage.abort(session.ends.reason as Error);
  };
  carriage.lost.addEventListener("abort", leave, { once: true });
  session.ends.addEventListener("abort", end, { once: true });
  if (carriage.lost.aborted) leave();
  if (session.ends.aborted) end();

  const listening = listen().finally(leave);
  listening.catch(() => {});
  try {
    await send();
    // The caller answers the exit with its last acknowledgement; whether it also ends its direction is its affair.
    await Promise.race([listening, progress.complete]);
    if (session.control && progress.isComplete) acknowledged(kept);
  } finally {
    carriage.lost.removeEventListener("abort", leave);
    session.ends.removeEventListener("abort", end);
    reader.close();
  }

  async function send(): Promise<void> {
    for (;;) {
      const room = await progress.room(window);
      if (room === 0) return;
      const most = Math.min(room, MOST_AT_ONCE);
      if (!session.control) await kept.pace.turn(most);
      const pieces = await reader.read(most);
      if (!pieces) return progress.end();
      for (const piece of pieces) progress.sent += piece.length;
      await carriage.write(pieces);
    }
  }

  async function listen(): Promise<void> {
    const decoder = new ChunkDecoder();
    for (;;) {
      const slice = await carriage.read();
      if (session.ends.aborted) throw session.ends.reason;
      if (!slice) {
        if (progress.isComplete) return;
        throw new SortieError("CONNECTION_LOST", "The caller left before the exit.");
      }
      for (const part of decoder.push(slice)) {
        if (part.kind === "control") control(part.json);
        else if (part.stream !== STDIN)
          throw new SortieError("PROTOCOL", `The caller sent a chunk on stream ${part.stream}.`);
        else if (!session.control || (kept.job && !kept.stdin))
          throw new SortieError("PROTOCOL", "The caller sent stdin that was not announced.");
        // The owner of a job that an earlier keeper lost may not know it yet: nobody is left to read it.
        else kept.stdin?.take(part.payload);
      }
    }
  }

  function control(json: unknown): void {
    const parsed = v.safeParse(CallerControl, json);
    if (!parsed.success)
      throw new SortieError("PROTOCOL", "The caller sent a control message that is not one of Sortie's.");
    const message = parsed.output;
    if (message.type === "ack") {
      if (message.offset > progress.sent)
        throw new SortieError("PROTOCOL", "The caller acknowledged more than was sent.");
      if (session.control) kept.journal.acknowledge(message.offset);
      progress.acknowledge(message.offset);
      return;
    }
    if (!session.control) throw new SortieError("PROTOCOL", `A reader sent ${message.type}; it may only read.`);
    switch (message.type) {
      case "eof":
        return kept.stdin?.end();
      case "signal":
        return kept.job?.signal(message.name);
      case "finish":
        if (kept.job && !kept.driven)
          throw new SortieError("PROTOCOL", "The caller sent finish for a job that is not driven.");
        return kept.driven?.finish(message.code);
      case "cancel":
        return kept.job?.cancel({ reason: "cancelled", by: message.by });
    }
  }
}

/** What was sent and what was acknowledged; sending waits here for the window. */
class Progress {
  sent: number;
  acknowledged: number;
  readonly #journal: Journal;
  #left = false;
  #wake: (() => void) | undefined;
  readonly #completed = Promise.withResolvers<void>();
  /** Resolves once the exit was sent and everything was acknowledged. */
  readonly complete = this.#completed.promise;

  constructor(offset: number, journal: Journal) {
    this.sent = offset;
    this.acknowledged = offset;
    this.#journal = journal;
  }

  /** Asked of the journal: the caller may answer the exit, and leave, before send() looks for what comes behind it. */
  get isComplete(): boolean {
    return this.#journal.over && this.acknowledged >= this.#journal.end;
  }

  acknowledge(offset: number): void {
    this.acknowledged = Math.max(this.acknowledged, offset);
    this.#wake?.();
    if (this.isComplete) this.#completed.resolve();
  }

  /** There is nothing more to send. */
  end(): void {
    if (!this.#left && this.isComplete) this.#completed.resolve();
  }

  leave(): void {
    this.#left = true;
    this.#wake?.();
  }

  /** Bytes that may be sent now, once there are any; 0 when the caller is gone. */
  async room(window: number): Promise<number> {
    while (this.sent - this.acknowledged >= window && !this.#left) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#left ? 0 : window - (this.sent - this.acknowledged);
  }
}

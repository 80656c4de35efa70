// One job's call: request -> keeper -> journal -> stream, and the caller's stdin and control the other way, both at
// once. The window is kept here: at most so many bytes are under way that the caller has not stored yet.
import * as v from "valibot";
import type { RawCarriage } from "../protocol/call.ts";
import { ChunkDecoder, STDIN } from "../protocol/chunk.ts";
import { asSortieError, SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { CallerControl, type JobRunInput } from "../protocol/messages.ts";
import type { Keeper } from "./keeper/keeper.ts";
import { stdinQueue } from "./stdin-queue.ts";

/** Bytes sent at once: several pieces of a pipe, so that a busy job costs few frames. */
const MOST_AT_ONCE = 256 * 1024;

/**
 * Serves a started job on its carriage until the exit was acknowledged or the caller is lost. A lost caller ends
 * the job. `onEnded` is called before the exit is sent: the slot is free when the caller learns that the job is over.
 */
export async function serveJob(
  keeper: Keeper,
  input: JobRunInput,
  carriage: RawCarriage,
  onEnded: () => void,
): Promise<void> {
  const { attemptId } = input.request;
  const progress = new Progress();
  const reader = keeper.read(attemptId, 0);
  const leave = (): void => {
    keeper.cancel(attemptId, { reason: "cancelled", by: "peer" });
    reader.close();
    progress.leave();
  };
  carriage.lost.addEventListener("abort", leave, { once: true });
  if (carriage.lost.aborted) leave();

  const listening = listen().catch((error: unknown) => {
    leave();
    throw error;
  });
  listening.catch(() => {});
  try {
    await send();
    // The caller answers the exit with its last acknowledgement; whether it also ends its direction is its affair.
    await Promise.race([listening, progress.complete]);
  } finally {
    carriage.lost.removeEventListener("abort", leave);
    await keeper.forget(attemptId);
  }

  async function send(): Promise<void> {
    for (;;) {
      const room = await progress.room(input.window);
      if (room === 0) return;
      const pieces = await reader.read(Math.min(room, MOST_AT_ONCE));
      if (!keeper.isRunning(attemptId)) onEnded();
      if (!pieces) return progress.end();
      for (const piece of pieces) progress.sent += piece.length;
      await carriage.write(pieces);
    }
  }

  async function listen(): Promise<void> {
    const decoder = new ChunkDecoder();
    let waiting = 0;
    let ended = false;
    const stdin = stdinQueue({
      write: (bytes) => keeper.writeStdin(attemptId, bytes),
      onWritten(length) {
        waiting -= length;
      },
      end: () => keeper.endStdin(attemptId),
    });
    for (;;) {
      const slice = await carriage.read();
      if (!slice) {
        decoder.end();
        if (progress.acknowledged < progress.sent || keeper.isRunning(attemptId))
          throw new SortieError("CONNECTION_LOST", "The caller left before the exit.");
        return;
      }
      for (const part of decoder.push(slice)) {
        if (part.kind === "control") control(part.json);
        else if (part.stream === STDIN) takeStdin(part.payload);
        else throw new SortieError("PROTOCOL", `The caller sent a chunk on stream ${part.stream}.`);
      }
    }

    function takeStdin(payload: Uint8Array): void {
      if (!input.request.stdin || ended)
        throw new SortieError("PROTOCOL", "The caller sent stdin that was not announced, or after its end.");
      waiting += payload.length;
      // The caller counts what it was told; up to a step of `received` more may be taken and not told yet.
      if (waiting > limits.window)
        throw new SortieError("CHANNEL_FLOODED", "The caller sent more stdin than the window allows.");
      stdin.push(payload);
    }

    function control(json: unknown): void {
      const parsed = v.safeParse(CallerControl, json);
      if (!parsed.success)
        throw new SortieError("PROTOCOL", "The caller sent a control message that is not one of Sortie's.");
      const message = parsed.output;
      switch (message.type) {
        case "eof":
          ended = true;
          return stdin.end();
        case "signal":
          return keeper.signal(attemptId, message.name);
        case "cancel":
          return keeper.cancel(attemptId, { reason: "cancelled", by: message.by });
        case "ack":
          if (message.offset > progress.sent)
            throw new SortieError("PROTOCOL", "The caller acknowledged more than was sent.");
          keeper.acknowledge(attemptId, message.offset);
          return progress.acknowledge(message.offset);
      }
    }
  }
}

/** What was sent and what was acknowledged; sending waits here for the window. */
class Progress {
  sent = 0;
  acknowledged = 0;
  #left = false;
  #ended = false;
  #wake: (() => void) | undefined;
  readonly #completed = Promise.withResolvers<void>();
  /** Resolves once the exit was sent and everything was acknowledged. */
  readonly complete = this.#completed.promise;

  acknowledge(offset: number): void {
    this.acknowledged = Math.max(this.acknowledged, offset);
    this.#wake?.();
    this.#completeIfDone();
  }

  /** There is nothing more to send. */
  end(): void {
    this.#ended = true;
    this.#completeIfDone();
  }

  leave(): void {
    this.#left = true;
    this.#wake?.();
  }

  #completeIfDone(): void {
    if (this.#ended && !this.#left && this.acknowledged === this.sent) this.#completed.resolve();
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

/** For logs at the runner: what ended a session, in one line. */
export const describeEnd = (error: unknown): string => asSortieError(error).message;

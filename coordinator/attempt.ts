// One attempt's stream, from the caller's side: decodes what a runner sends, hands it to a sink, and acknowledges
// what the sink has taken. dispatch.ts uses it for the jobs of a run, exec for a single command.
import * as v from "valibot";
import type { ByteChannel } from "../protocol/channel.ts";
import { ChunkDecoder, encodeControl, STDERR, STDOUT } from "../protocol/chunk.ts";
import { asSortieError, SortieError } from "../protocol/errors.ts";
import type { CancelledBy, Exit, SignalName } from "../protocol/exit.ts";
import { limits } from "../protocol/limits.ts";
import { callRaw } from "../protocol/make-call.ts";
import { type JobRequest, JournalControl } from "../protocol/messages.ts";
import { StdinSender } from "./stdin-sender.ts";

/** Where an attempt's stream goes. The attempt waits for each promise before it acknowledges. */
export interface AttemptSink {
  /** The journal's bytes, verbatim and in order; resolves when they are stored. */
  store(bytes: Uint8Array): Promise<void> | void;
  output(stream: "stdout" | "stderr", bytes: Uint8Array, at: number): Promise<void> | void;
  control?(message: JournalControl): Promise<void> | void;
}

export interface Attempt {
  /**
   * The exit, once every byte before it was taken by the sink. Rejects with CONNECTION_LOST or PROTOCOL when the
   * stream ended without one, and with the sink's own error when it could not take the bytes.
   */
  readonly exit: Promise<Exit>;
  cancel(by: CancelledBy): void;
  signal(name: SignalName): void;
  /** Leaves at once; the runner treats it as a lost connection and ends the job. */
  abandon(reason: Error): void;
}

/** Asks the runner behind `channel` to run the request. Rejects with the runner's own refusal (DENIED, RUNNER_FULL, …). */
export async function startAttempt(
  channel: ByteChannel,
  request: JobRequest,
  sink: AttemptSink,
  stdin?: AsyncIterable<Uint8Array>,
): Promise<Attempt> {
  const window = limits.window;
  const call = await callRaw(channel, "/job/run", { request, window });
  const decoder = new ChunkDecoder();
  const sender = stdin && new StdinSender(call, stdin);

  /** What is sent after the stream broke has nowhere to go; the exit's rejection already tells. */
  const send = (message: Parameters<typeof encodeControl>[0]): void => {
    call.write(encodeControl(message)).catch(() => {});
  };

  async function takeControl(json: unknown, state: { at: number; exit?: Exit }): Promise<void> {
    const parsed = v.safeParse(JournalControl, json);
    if (!parsed.success)
      throw new SortieError("PROTOCOL", "The runner sent a control message that is not one of Sortie's.");
    const message = parsed.output;
    if ("at" in message) state.at = message.at;
    if (message.type === "received") sender?.received(message.offset);
    if (message.type === "exit") state.exit = message;
    await sink.control?.(message);
  }

  async function follow(): Promise<Exit> {
    const state: { at: number; exit?: Exit } = { at: Date.now() };
    let acknowledged = 0;
    for (;;) {
      const bytes = await call.read();
      if (!bytes) {
        decoder.end();
        throw new SortieError("CONNECTION_LOST", "The runner ended the stream without an exit.");
      }
      const stored = sink.store(bytes);
      if (stored) await stored;
      for (const part of decoder.push(bytes)) {
        if (state.exit) throw new SortieError("PROTOCOL", "The runner sent more after the exit.");
        if (part.kind === "control") await takeControl(part.json, state);
        else if (part.stream === STDOUT || part.stream === STDERR) {
          const taken = sink.output(part.stream === STDOUT ? "stdout" : "stderr", part.payload, state.at);
          if (taken) await taken;
        } else throw new SortieError("PROTOCOL", "The runner sent a chunk of stdin.");
      }
      if (state.exit) {
        await call.write(encodeControl({ type: "ack", offset: decoder.offset }));
        await call.close();
        return state.exit;
      }
      if (decoder.offset - acknowledged >= window / 4) {
        acknowledged = decoder.offset;
        send({ type: "ack", offset: acknowledged });
      }
    }
  }

  const exit = follow().catch((error: unknown) => {
    const failure = asSortieError(error);
    call.abort(failure);
    throw failure;
  });
  const over = exit.then(
    () => sender?.stop(),
    () => sender?.stop(),
  );
  void over;

  return {
    exit,
    cancel: (by) => send({ type: "cancel", by }),
    signal: (name) => send({ type: "signal", name }),
    abandon: (reason) => call.abort(reason),
  };
}

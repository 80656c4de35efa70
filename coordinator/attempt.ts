// One attempt of a job, from the owner's side: asks a runner for it, hands what comes to a sink, acknowledges what the
// sink has taken, and when the connection is lost finds the runner again and goes on where it was. dispatch.ts uses it
// for the jobs of a run, exec for a single command.
import { setTimeout as delay } from "node:timers/promises";
import * as v from "valibot";
import type { RawCarriage } from "../protocol/call.ts";
import type { ByteChannel } from "../protocol/channel.ts";
import { ChunkDecoder, encodeControl, STDERR, STDOUT } from "../protocol/chunk.ts";
import { asSortieError, type ErrorCode, SortieError } from "../protocol/errors.ts";
import type { CancelledBy, Exit, SignalName } from "../protocol/exit.ts";
import { type AttemptId, newId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { callRaw } from "../protocol/make-call.ts";
import {
  type CallerControl,
  type JobAttachOutput,
  type JobRequest,
  type JobRunInput,
  JournalControl,
} from "../protocol/messages.ts";
import { answerWithin } from "./answer-within.ts";
import type { RunnerLink } from "./fleet.ts";
import { Proof } from "./proof.ts";
import { StdinSender } from "./stdin-sender.ts";

/** Where an attempt's stream goes. The attempt waits for each promise before it acknowledges. */
export interface AttemptSink {
  /** The journal's bytes, verbatim and in order, and where in it they end; resolves when they are stored. */
  store(bytes: Uint8Array, end: number): Promise<void> | void;
  output(stream: "stdout" | "stderr", bytes: Uint8Array, at: number): Promise<void> | void;
  control?(message: JournalControl): Promise<void> | void;
  /** The connection was lost, and why; or it is there again. */
  connection?(lost: string | undefined): void;
}

export interface AttemptEnd {
  readonly exit: Exit;
  /** What of the outputs did not arrive; absent where every byte is proven by the runner's counts and hashes. */
  readonly gap?: string;
}

export interface Attempt {
  /**
   * The exit, once every byte before it was taken by the sink. Rejects with CONNECTION_LOST when the runner could not be
   * found again in time, with NOT_FOUND when it no longer knows the job, with PROTOCOL or SUPERSEDED, and with the
   * sink's own error when it could not take the bytes.
   */
  readonly end: Promise<AttemptEnd>;
  /** Also while the connection is lost: it is told when that is there again. */
  cancel(by: CancelledBy): void;
  /**
   * Ends a driven job as if it exited with this code, 0 to 255, once its commands are over; those that still run are
   * ended first. Also while the connection is lost, as cancel is. The first code counts.
   */
  finish(code: number): void;
  signal(name: SignalName): void;
  /** Leaves at once. The job goes on for its lease, unless it was cancelled. */
  abandon(reason: Error): void;
}

export interface AttemptOptions {
  readonly link: RunnerLink;
  readonly attemptId: AttemptId;
  /** Absent for an attempt that an earlier coordinator began. */
  readonly request?: JobRequest;
  /** What that coordinator has stored. */
  readonly stored?: AsyncIterable<Uint8Array>;
  readonly sink: AttemptSink;
  readonly stdin?: AsyncIterable<Uint8Array> | undefined;
  /** How long a lost runner is looked for; milliseconds. */
  readonly reconnectMs: number;
  /** Only reads what the runner holds of a job: acknowledges nothing and can end nothing. */
  readonly readOnly?: boolean;
}

/** How long a runner is looked for, by the job's lease: null is for ever, and undefined the runner's own. */
export const reconnectMsOf = (leaseMs: number | null | undefined): number =>
  leaseMs === null ? limits.reconnectDetachedMs : (leaseMs ?? limits.leaseMs);

/** Who this process is to a keeper, among the processes of one coordinator. */
const holder = newId();
/** Signals that wait for a connection; what is more is lost. */
const MOST_SIGNALS = 16;

/** The stream is of no more use, and another one may be: what this process held of it was too much is one reason. */
const LOST: readonly ErrorCode[] = ["CONNECTION_LOST", "TOO_MANY"];

/** Answers that no second try would change. */
const FINAL: readonly ErrorCode[] = [
  "NOT_FOUND",
  "OFFSET_GONE",
  "SUPERSEDED",
  "PROTOCOL",
  "DENIED",
  "SIGNATURE",
  "USAGE",
  "RUNNER_DRAINING",
];

/**
 * Asks the runner for the attempt, and resolves once it has taken it. Rejects with the runner's own refusal (DENIED,
 * RUNNER_FULL, …), and with RUNNER_UNREACHABLE; nothing runs then.
 */
export async function startAttempt(options: AttemptOptions): Promise<Attempt> {
  const { link, attemptId, request, sink } = options;
  const window = options.readOnly ? limits.readerWindow : limits.window;
  const decoder = new ChunkDecoder();
  /** Where in the journal the decoder began. */
  let base = 0;
  const proof = new Proof();
  const left = new AbortController();
  const signals: SignalName[] = [];
  let hasStarted = false;
  let cancelledBy: CancelledBy | undefined;
  let finishedWith: number | undefined;
  let state: { at: number; exit?: Exit } = { at: Date.now() };
  let call: RawCarriage | undefined;
  let onLeft: ((reason: Error) => void) | undefined;
  /** Looking for the runner has brought nothing new since then; the pause before it is tried again. */
  let looking: { readonly since: number; pause: number } | undefined;
  /** Whether the runner is known to have taken it. */
  let taken = request === undefined;
  /** Whether there was a connection to lose. */
  let connected = request !== undefined;
  const sender =
    options.stdin &&
    new StdinSender(options.stdin, (error) => leave(error instanceof Error ? error : new Error(String(error))));

  if (options.stored) {
    for await (const bytes of options.stored) {
      for (const part of decoder.push(bytes)) {
        if (part.kind === "data") proof.output(part.stream, part.payload);
        else note(part.json);
      }
    }
  }

  /** What is sent over a broken stream has nowhere to go; the next connection says it again where it matters. */
  const send = (message: CallerControl): void => {
    call?.write(encodeControl(message)).catch(() => {});
  };

  /** Waits for the sink, but no longer than until this is left. */
  const orLeft = (taken: Promise<void>): Promise<void> =>
    new Promise((resolve, reject) => {
      onLeft = reject;
      taken.then(resolve, reject);
    });

  function leave(reason: Error): void {
    left.abort(reason);
    onLeft?.(reason);
    call?.abort(reason);
  }

  function note(json: unknown): JournalControl {
    const parsed = v.safeParse(JournalControl, json);
    if (!parsed.success)
      throw new SortieError("PROTOCOL", "The runner sent a control message that is not one of Sortie's.");
    const message = parsed.output;
    if (message.type === "started") {
      if (hasStarted) throw new SortieError("PROTOCOL", "The runner started the attempt twice.");
      hasStarted = true;
    }
    if ("at" in message) state = { ...state, at: message.at };
    if (message.type === "exit") state = { ...state, exit: message };
    if (message.type === "dropped") proof.dropped(message);
    return message;
  }

  async function run(channel: ByteChannel, input: JobRunInput): Promise<RawCarriage> {
    const started = await answerWithin(channel, limits.acceptMs, callRaw(channel, "/job/run", input));
    taken = true;
    sender?.connect(started, 0);
    return started;
  }

  async function attach(channel: ByteChannel): Promise<RawCarriage> {
    const offset = base + decoder.offset;
    const asked = { attemptId, offset, control: !options.readOnly, window, holder };
    const found = await answerWithin(channel, limits.answerMs, callRaw(channel, "/job/attach", asked));
    if (found.output.offset !== offset) await beginLater(found.output);
    taken = true;
    // Also of what an earlier process sent: this one has not heard that it arrived.
    sender?.received(found.output.stdin);
    sender?.connect(found, found.output.stdin);
    return found;
  }

  /** A reader gets what is left. Behind a first part a gap would be in the middle of what it has. */
  async function beginLater({ offset, missing }: JobAttachOutput): Promise<void> {
    if (decoder.offset > 0) throw new SortieError("OFFSET_GONE", `${link.name} has removed what comes next.`);
    base = offset;
    proof.beginsLater();
    const message: JournalControl = { type: "dropped", ...missing, reason: `${link.name} holds no more of it` };
    note(message);
    await sink.store(encodeControl(message), base);
    await sink.control?.(message);
  }

  /** `undefined` where the connection broke after the request: that leaves open whether it was taken. */
  async function begin(asked: JobRequest): Promise<RawCarriage | undefined> {
    const channel = await link.open();
    try {
      // Each time anew: a signature is good for some minutes only, and is for the key that the runner has now.
      const signature = await link.sign?.(asked);
      return await run(channel, { request: asked, window, holder, ...(signature ? { signature } : {}) });
    } catch (error) {
      channel.abort(asSortieError(error));
      if (asSortieError(error).code !== "CONNECTION_LOST") throw error;
      return undefined;
    }
  }

  async function attachOrBegin(): Promise<RawCarriage | undefined> {
    // A runner that is not trusted any more is NOT_FOUND too, and says nothing of the attempt.
    const channel = await link.open();
    try {
      return await attach(channel);
    } catch (error) {
      if (asSortieError(error).code !== "NOT_FOUND" || !request) throw error;
      if (taken) throw forgotten();
    }
    try {
      // It never arrived. Should it arrive yet, the same id keeps it from running twice.
      return await begin(request);
    } catch (error) {
      if (asSortieError(error).code !== "DUPLICATE") throw error;
      // It did: it runs since just now, or it is on record there, and its keeper was killed before it ran.
      taken = true;
      return attachOrBegin();
    }
  }

  const forgotten = (): SortieError =>
    new SortieError("NOT_FOUND", `${link.name} took the attempt ${attemptId}, and does not know it any more.`, {
      hint: "It was lost with its keeper; docs/journal.md tells what survives what.",
    });

  function checkTime(since: number, last: string): void {
    if (performance.now() - since <= options.reconnectMs) return;
    throw new SortieError(
      "CONNECTION_LOST",
      `${link.name} was not reached again for ${Math.round(options.reconnectMs / 1_000)} s: ${last}`,
    );
  }

  async function pause(before: { pause: number }): Promise<void> {
    await delay(before.pause * (0.5 + Math.random()), undefined, { signal: left.signal }).catch(() => {});
    before.pause = Math.min(before.pause * 2, limits.reconnectMostMs);
  }

  /** Looks for the runner until it answers, or the time is up. */
  async function find(): Promise<RawCarriage> {
    // A runner that takes every connection and ends it is looked for no longer than one that takes none.
    if (looking) {
      checkTime(looking.since, "each connection is lost again at once");
      await pause(looking);
    }
    const { since } = (looking ??= { since: performance.now(), pause: limits.reconnectFirstMs });
    // The first look for a job that another process began is no loss.
    let told = connected;
    let untrustedSince: number | undefined;
    if (told) sink.connection?.("the connection was lost");
    for (;;) {
      if (left.signal.aborted) throw left.signal.reason;
      let last = "the connection was lost again";
      try {
        const found = await attachOrBegin();
        if (found) {
          if (told) sink.connection?.(undefined);
          connected = true;
          return found;
        }
      } catch (error) {
        const failure = asSortieError(error);
        if (FINAL.includes(failure.code)) throw failure;
        // One alone may be a connection that was cut at its beginning.
        untrustedSince = failure.code === "UNTRUSTED" ? (untrustedSince ?? performance.now()) : undefined;
        if (untrustedSince !== undefined && performance.now() - untrustedSince > limits.untrustedMs) throw failure;
        last = failure.message;
      }
      checkTime(since, last);
      if (!told) sink.connection?.(`${link.name} does not answer`);
      told = true;
      await pause(looking);
    }
  }

  /** Reads one connection until the exit; `undefined` where the connection is lost before. */
  async function follow(current: RawCarriage): Promise<Exit | undefined> {
    let acknowledged = base + decoder.offset;
    for (;;) {
      let bytes: Uint8Array | undefined;
      try {
        bytes = await current.read();
      } catch (error) {
        if (!LOST.includes(asSortieError(error).code)) throw error;
      }
      if (!bytes) return undefined;
      const stored = sink.store(bytes, base + decoder.offset + bytes.length);
      if (stored) await orLeft(stored);
      for (const part of decoder.push(bytes)) {
        if (state.exit) throw new SortieError("PROTOCOL", "The runner sent more after the exit.");
        if (part.kind === "control") {
          const message = note(part.json);
          if (message.type === "received") sender?.received(message.offset);
          const told = sink.control?.(message);
          if (told) await orLeft(told);
        } else if (part.stream === STDOUT || part.stream === STDERR) {
          proof.output(part.stream, part.payload);
          const shown = sink.output(part.stream === STDOUT ? "stdout" : "stderr", part.payload, state.at);
          if (shown) await orLeft(shown);
        } else throw new SortieError("PROTOCOL", "The runner sent a chunk of stdin.");
      }
      if (state.exit) {
        if (!decoder.atBoundary) throw new SortieError("PROTOCOL", "The runner sent more after the exit.");
        await acknowledgeExit(current);
        return state.exit;
      }
      if (base + decoder.offset - acknowledged >= window / 4) {
        acknowledged = base + decoder.offset;
        send({ type: "ack", offset: acknowledged });
      }
    }
  }

  /** A runner that is not told keeps the journal for longer; the exit is the same. */
  async function acknowledgeExit(current: RawCarriage): Promise<void> {
    await current.write(encodeControl({ type: "ack", offset: base + decoder.offset })).catch(() => {});
    await current.close().catch(() => {});
  }

  async function toTheEnd(): Promise<AttemptEnd> {
    try {
      for (;;) {
        const current = (call ??= await find());
        if (cancelledBy) send({ type: "cancel", by: cancelledBy });
        if (finishedWith !== undefined) send({ type: "finish", code: finishedWith });
        for (const name of signals.splice(0)) send({ type: "signal", name });
        // While the runner was looked for there was no call to be ended.
        if (left.signal.aborted) throw left.signal.reason;
        const [held, since] = [decoder.offset, performance.now()];
        const exit = await follow(current);
        if (exit) return ended(exit);
        current.abort(new SortieError("CONNECTION_LOST", "The connection was lost."));
        if (left.signal.aborted) throw left.signal.reason;
        if (decoder.offset > held || performance.now() - since > limits.reconnectMostMs) looking = undefined;
        call = undefined;
      }
    } catch (error) {
      const failure = asSortieError(error);
      call?.abort(failure);
      throw failure;
    } finally {
      sender?.stop();
    }
  }

  function ended(exit: Exit): AttemptEnd {
    const gap = proof.gap(exit);
    return gap === undefined ? { exit } : { exit, gap };
  }

  let end: Promise<AttemptEnd>;
  if (state.exit) {
    // The coordinator ended between the exit and its record. The runner may still wait for the acknowledgement.
    end = Promise.resolve(ended(state.exit));
    await link
      .open()
      .then(attach)
      .then(acknowledgeExit, () => {});
  } else {
    try {
      call = request && (await begin(request));
    } catch (error) {
      sender?.stop();
      throw error;
    }
    end = toTheEnd();
  }
  // Whoever waits for it may come some turns later: exec opens its record first.
  end.catch(() => {});

  return {
    end,
    cancel(by) {
      if (cancelledBy) return;
      cancelledBy = by;
      send({ type: "cancel", by: cancelledBy });
    },
    finish(code) {
      finishedWith ??= code;
      send({ type: "finish", code: finishedWith });
    },
    signal(name) {
      if (call) send({ type: "signal", name });
      else if (signals.length < MOST_SIGNALS) signals.push(name);
    },
    abandon: leave,
  };
}

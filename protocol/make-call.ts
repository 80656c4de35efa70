// Makes a call on a channel of its own: one answer, a subscription, or a raw carriage.
import * as v from "valibot";
import type { RawCarriage } from "./call.ts";
import type { ByteChannel } from "./channel.ts";
import { type Envelope, EnvelopeReader, encodeEnvelope } from "./envelope.ts";
import { isErrorCode, SortieError } from "./errors.ts";
import { newId } from "./ids.ts";
import {
  type InputOf,
  type JsonOperationId,
  type OperationId,
  type OutputOf,
  operations,
  type RawOperationId,
} from "./messages.ts";
import { oneLine } from "./text.ts";

/** One answer. Rejects with the peer's error, PROTOCOL, or CONNECTION_LOST; the channel is closed in any case. */
export async function callJson<Id extends JsonOperationId>(
  channel: ByteChannel,
  id: Id,
  input: InputOf<Id>,
): Promise<OutputOf<Id>> {
  for await (const output of subscribe(channel, id, input)) return output;
  throw new SortieError("PROTOCOL", `The peer answered ${id} with nothing.`);
}

/** Every answer until the peer completes the call. Leaving the loop early tells the peer. */
export async function* subscribe<Id extends JsonOperationId>(
  channel: ByteChannel,
  id: Id,
  input: InputOf<Id>,
): AsyncGenerator<OutputOf<Id>, void, undefined> {
  const reader = new EnvelopeReader(channel);
  let completed = false;
  try {
    await request(channel, id, input);
    for (;;) {
      const answer = await nextAnswer(reader);
      if (answer.type === "call.completed") {
        completed = true;
        return;
      }
      yield parseOutput(id, answer);
    }
  } finally {
    if (completed) await channel.close().catch(() => {});
    else channel.abort(new SortieError("CONNECTION_LOST", "The caller left."));
  }
}

/** A raw call that the peer accepted: its output, and the carriage behind it. Rejects as callJson does. */
export async function callRaw<Id extends RawOperationId>(
  channel: ByteChannel,
  id: Id,
  input: InputOf<Id>,
): Promise<RawCarriage & { readonly output: OutputOf<Id> }> {
  const reader = new EnvelopeReader(channel);
  try {
    await request(channel, id, input);
    const answer = await nextAnswer(reader);
    if (answer.type !== "call.responded")
      throw new SortieError("PROTOCOL", "The peer ended the call before it accepted it.");
    return { output: parseOutput(id, answer), ...carriage(channel, reader) };
  } catch (error) {
    channel.abort(error instanceof Error ? error : new Error(String(error)));
    throw error;
  }
}

/** The channel, reading first what the envelope's reader read too far. */
export function carriage(channel: ByteChannel, reader: EnvelopeReader): RawCarriage {
  return {
    read: () => reader.bytes(),
    write: (bytes) => channel.write(bytes),
    close: () => channel.close(),
    abort: (reason) => channel.abort(reason),
    lost: channel.lost,
  };
}

async function request<Id extends OperationId>(channel: ByteChannel, id: Id, input: InputOf<Id>): Promise<void> {
  const payload = { operationId: id, carriage: operations[id].carriage, input };
  await channel.write(encodeEnvelope({ type: "call.requested", id: newId(), payload }));
}

async function nextAnswer(reader: EnvelopeReader): Promise<Envelope & { type: "call.responded" | "call.completed" }> {
  const envelope = await reader.next();
  if (!envelope) throw new SortieError("CONNECTION_LOST", "The peer ended the call without an answer.");
  if (envelope.type === "call.requested") throw new SortieError("PROTOCOL", "The peer answered a call with a call.");
  if (envelope.type !== "call.error") return envelope;
  const { code, message, hint } = envelope.payload;
  throw new SortieError(
    isErrorCode(code) ? code : "PROTOCOL",
    oneLine(message),
    hint === undefined ? {} : { hint: oneLine(hint) },
  );
}

function parseOutput<Id extends OperationId>(id: Id, answer: Envelope): OutputOf<Id> {
  const output = answer.type === "call.responded" ? answer.payload.output : undefined;
  const parsed = v.safeParse(operations[id].output, output);
  if (!parsed.success) throw new SortieError("PROTOCOL", `The peer's answer to ${id} is not what the operation gives.`);
  return parsed.output as OutputOf<Id>;
}

// Answers the one call of a channel: reads the request, finds its handler, and carries the answers back.
import * as v from "valibot";
import type { Caller, Handlers, JsonHandler, RawCarriage, RawHandler } from "./call.ts";
import type { ByteChannel } from "./channel.ts";
import { EnvelopeReader, encodeEnvelope } from "./envelope.ts";
import { asSortieError, SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { carriage } from "./make-call.ts";
import { type JsonOperationId, operations, type RawOperationId } from "./messages.ts";

export interface ServeOptions {
  readonly firstEnvelopeMs?: number | undefined;
  /** Told of a call that is answered with an error; `operation` and `input` where the request came that far. */
  readonly onRefused?: (error: SortieError, call: { readonly operation?: string; readonly input?: unknown }) => void;
}

/** Serves the call and resolves when it is over. Never rejects: what goes wrong is told to the caller, or ends the channel. */
export async function serveCall(
  channel: ByteChannel,
  handlers: Handlers,
  caller: Caller,
  { firstEnvelopeMs = limits.firstEnvelopeMs, onRefused }: ServeOptions = {},
): Promise<void> {
  let id = "";
  let call: { operation?: string; input?: unknown } = {};
  try {
    const reader = new EnvelopeReader(channel);
    const request = await requestWithin(channel, reader, firstEnvelopeMs);
    id = request.id;
    const { operationId, input } = request.payload;
    call = { operation: operationId };
    const handler = Object.hasOwn(handlers, operationId) ? handlers[operationId as keyof Handlers] : undefined;
    if (!handler) throw new SortieError("PROTOCOL", `There is no operation ${operationId.slice(0, 50)} here.`);
    const operation = operations[operationId as keyof Handlers];
    if (operation.carriage !== request.payload.carriage)
      throw new SortieError("PROTOCOL", `${operationId} has the carriage ${operation.carriage}.`);
    const parsed = v.safeParse(operation.input, input);
    if (!parsed.success)
      throw new SortieError("PROTOCOL", `The input of ${operationId} is wrong: ${describeIssue(parsed.issues[0])}.`);
    call.input = parsed.output;
    if (operation.carriage === "raw") {
      await serveRaw(channel, reader, id, (accept) =>
        (handler as RawHandler<RawOperationId>)(parsed.output as never, caller, accept, channel.lost),
      );
    } else {
      await serveJson(channel, reader, id, (left) =>
        (handler as JsonHandler<JsonOperationId>)(parsed.output as never, caller, left),
      );
    }
  } catch (error) {
    const refused = asSortieError(error);
    onRefused?.(refused, call);
    await refuseCall(channel, refused, id);
  }
}

async function requestWithin(channel: ByteChannel, reader: EnvelopeReader, milliseconds: number) {
  const late = setTimeout(() => channel.abort(new SortieError("TIMEOUT", "No request came in time.")), milliseconds);
  try {
    const envelope = await reader.next();
    if (envelope?.type !== "call.requested") throw new SortieError("PROTOCOL", "A call begins with call.requested.");
    return envelope;
  } finally {
    clearTimeout(late);
  }
}

type Accept = Parameters<RawHandler<RawOperationId>>[2];

async function serveRaw(
  channel: ByteChannel,
  reader: EnvelopeReader,
  id: string,
  run: (accept: Accept) => Promise<void>,
): Promise<void> {
  let accepted = false;
  const accept = async (output: unknown): Promise<RawCarriage> => {
    accepted = true;
    await channel.write(encodeEnvelope({ type: "call.responded", id, payload: { output } }));
    return carriage(channel, reader);
  };
  try {
    await run(accept);
    await channel.close();
  } catch (error) {
    if (!accepted) throw error;
    channel.abort(asSortieError(error));
  }
}

async function serveJson(
  channel: ByteChannel,
  reader: EnvelopeReader,
  id: string,
  run: (left: AbortSignal) => Promise<unknown> | AsyncIterable<unknown>,
): Promise<void> {
  const left = new AbortController();
  const leaves = () => left.abort();
  channel.lost.addEventListener("abort", leaves, { once: true });
  // The caller says nothing more: its end means that it left, and more bytes would wait here for nobody.
  reader.bytes().then((more) => {
    leaves();
    if (more) channel.abort(new SortieError("PROTOCOL", "The caller sent more than its request."));
  }, leaves);
  try {
    const answer = run(left.signal);
    const respond = (output: unknown) =>
      channel.write(encodeEnvelope({ type: "call.responded", id, payload: { output } }));
    if (Symbol.asyncIterator in answer) for await (const output of answer) await respond(output);
    else await respond(await answer);
    await channel.write(encodeEnvelope({ type: "call.completed", id, payload: {} }));
    await channel.close();
  } finally {
    channel.lost.removeEventListener("abort", leaves);
  }
}

/** Answers a call with an error, and ends it. */
export async function refuseCall(channel: ByteChannel, error: SortieError, id = ""): Promise<void> {
  // A bug's own text may hold anything; the peer learns only that there was one.
  const message = error.code === "INTERNAL" ? "Something went wrong inside the peer." : error.message;
  try {
    await channel.write(
      encodeEnvelope({ type: "call.error", id, payload: { code: error.code, message, hint: error.hint } }),
    );
    await channel.close();
  } catch {
    channel.abort(error);
  }
}

function describeIssue(issue: v.BaseIssue<unknown>): string {
  const path = v.getDotPath(issue);
  return `${path ? `${path}: ` : ""}${issue.message.slice(0, 200)}`;
}

// Make a call, serve calls: one registry of operations, both carriages. See messages.ts for the operations.
import type { InputOf, JsonOperationId, OperationId, OutputOf, RawOperationId } from "./messages.ts";

/** The raw carriage of an accepted call: chunks in both directions, as bytes. */
export interface RawCarriage {
  /** Bytes of chunks as they came, in any slices; `undefined` at the end of the peer's direction. */
  read(): Promise<Uint8Array | undefined>;
  /** Whole encoded chunks, or verbatim slices of a journal. */
  write(bytes: Uint8Array): Promise<void>;
  close(): Promise<void>;
  abort(reason: Error): void;
  readonly lost: AbortSignal;
}

/** Who calls, as Noise authenticated it; `embedded` for a coordinator in the same process. */
export interface Caller {
  readonly peer: string;
  readonly name: string;
}

/** Answers one call. A SortieError it throws goes to the caller as `call.error` with its code, message and hint. */
export type JsonHandler<Id extends JsonOperationId> = (input: InputOf<Id>, caller: Caller, left: AbortSignal) =>
  | Promise<OutputOf<Id>>
  /** A subscription: each value is one call.responded, the end is call.completed. `left` aborts when the caller left. */
  | AsyncIterable<OutputOf<Id>>;

/** `accept` sends call.responded and gives the carriage; throwing before it sends call.error. */
export type RawHandler<Id extends RawOperationId> = (
  input: InputOf<Id>,
  caller: Caller,
  accept: (output: OutputOf<Id>) => Promise<RawCarriage>,
) => Promise<void>;

export type Handlers = {
  readonly [Id in OperationId]?: Id extends JsonOperationId ? JsonHandler<Id> : Id extends RawOperationId ? RawHandler<Id> : never;
};

/** One accepted raw call, from the caller's side. */
export interface RawCall<Id extends RawOperationId> extends RawCarriage {
  readonly output: OutputOf<Id>;
}

// serveCall(channel, handlers, caller): Promise<void>                       — serves the one call of a channel, never rejects
// callJson(channel, id, input): Promise<OutputOf<Id>>                       — one answer, then the channel is closed
// subscribe(channel, id, input): AsyncIterable<OutputOf<Id>>                — until call.completed, or the iterator's return()
// callRaw(channel, id, input): Promise<RawCall<Id>>

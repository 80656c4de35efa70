// The types of calls: what a handler gets and gives, on both carriages. serve-call.ts answers calls,
// make-call.ts makes them; messages.ts is the registry of operations.
import type { ByteChannel } from "./channel.ts";
import type { InputOf, JsonOperationId, OperationId, OutputOf, RawOperationId } from "./messages.ts";

/** The raw carriage of an accepted call: chunks in both directions, as bytes. `read` gives verbatim slices. */
export type RawCarriage = ByteChannel;

/** Who calls, as Noise authenticated it; `embedded` for a coordinator in the same process. */
export interface Caller {
  readonly peer: string;
  readonly name: string;
  /** The identity that its jobs are known by, where it had another one before. */
  readonly owner?: string;
}

/**
 * Answers one call. A SortieError it throws goes to the caller as `call.error` with its code, message and hint.
 * An iterable is a subscription: each value is one call.responded, its end is call.completed; `left` aborts when
 * the caller left.
 */
export type JsonHandler<Id extends JsonOperationId> = (
  input: InputOf<Id>,
  caller: Caller,
  left: AbortSignal,
) => Promise<OutputOf<Id>> | AsyncIterable<OutputOf<Id>>;

/** `accept` sends call.responded and gives the carriage; throwing before it sends call.error. `left` aborts when the caller is gone. */
export type RawHandler<Id extends RawOperationId> = (
  input: InputOf<Id>,
  caller: Caller,
  accept: (output: OutputOf<Id>) => Promise<RawCarriage>,
  left: AbortSignal,
) => Promise<void>;

export type Handlers = {
  readonly [Id in OperationId]?: Id extends JsonOperationId
    ? JsonHandler<Id>
    : Id extends RawOperationId
      ? RawHandler<Id>
      : never;
};

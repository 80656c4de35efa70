// The envelopes that open a call: `u32be` length, then JSON. On a raw carriage chunks follow right behind, so the
// reader keeps what it read beyond an envelope and hands it on.
import * as v from "valibot";
import type { ByteChannel } from "./channel.ts";
import { SortieError } from "./errors.ts";
import { formatJson, parseJson } from "./json.ts";
import { limits } from "./limits.ts";

const CallId = v.pipe(v.string(), v.maxLength(64));

export const Envelope = v.variant("type", [
  v.strictObject({
    type: v.literal("call.requested"),
    id: CallId,
    payload: v.strictObject({
      operationId: v.pipe(v.string(), v.maxLength(100)),
      carriage: v.picklist(["json", "raw"]),
      input: v.unknown(),
    }),
  }),
  v.strictObject({ type: v.literal("call.responded"), id: CallId, payload: v.strictObject({ output: v.unknown() }) }),
  v.strictObject({ type: v.literal("call.completed"), id: CallId, payload: v.strictObject({}) }),
  v.strictObject({
    type: v.literal("call.error"),
    id: CallId,
    payload: v.strictObject({
      code: v.pipe(v.string(), v.maxLength(100)),
      message: v.string(),
      hint: v.optional(v.string()),
    }),
  }),
]);
export type Envelope = v.InferOutput<typeof Envelope>;

const LENGTH_BYTES = 4;

/** The envelope as bytes; more than `limits.envelopeBytes` is an error of the caller's input. */
export function encodeEnvelope(envelope: Envelope): Uint8Array {
  const json = Buffer.from(formatJson(envelope));
  if (json.length > limits.envelopeBytes) {
    throw new SortieError("USAGE", `The request is ${json.length} bytes long; at most ${limits.envelopeBytes} fit.`, {
      hint: "Send large inputs by stdin.",
    });
  }
  const bytes = Buffer.allocUnsafe(LENGTH_BYTES + json.length);
  bytes.writeUInt32BE(json.length, 0);
  bytes.set(json, LENGTH_BYTES);
  return bytes;
}

/** Reads envelopes off a channel, and afterwards the bytes behind them. */
export class EnvelopeReader {
  readonly #channel: ByteChannel;
  /** What was read and not taken yet: the first `#filled` bytes. One buffer: a piece costs more than its bytes. */
  #pending: Buffer = Buffer.alloc(0);
  #filled = 0;
  /** It is the slice that came, which is not ours to write into. */
  #isBorrowed = false;

  constructor(channel: ByteChannel) {
    this.#channel = channel;
  }

  /** The next envelope; `undefined` when the peer ended cleanly before one. Throws PROTOCOL on anything else. */
  async next(): Promise<Envelope | undefined> {
    if (!(await this.#fill(LENGTH_BYTES))) {
      if (this.#filled === 0) return undefined;
      throw malformed("the end of the stream in the middle of an envelope");
    }
    const length = this.#take(LENGTH_BYTES).readUInt32BE(0);
    if (length > limits.envelopeBytes)
      throw malformed(`an envelope of ${length} bytes; at most ${limits.envelopeBytes}`);
    if (!(await this.#fill(length))) throw malformed("the end of the stream in the middle of an envelope");
    const envelope = parse(this.#take(length));
    if (envelope.type === "call.requested") this.#channel.requested?.(length);
    return envelope;
  }

  /** Bytes behind the last envelope, as they come. */
  async bytes(): Promise<Uint8Array | undefined> {
    return this.#filled === 0 ? this.#channel.read() : this.#take(this.#filled);
  }

  async #fill(wanted: number): Promise<boolean> {
    while (this.#filled < wanted) {
      const bytes = await this.#channel.read();
      if (!bytes) return false;
      this.#append(bytes);
    }
    return true;
  }

  #append(bytes: Uint8Array): void {
    const needed = this.#filled + bytes.length;
    if (this.#filled === 0) this.#pending = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    else {
      if (needed > this.#pending.length || this.#isBorrowed) {
        const grown = Buffer.allocUnsafe(Math.max(needed, 2 * this.#filled));
        grown.set(this.#pending.subarray(0, this.#filled));
        this.#pending = grown;
      }
      this.#pending.set(bytes, this.#filled);
    }
    this.#isBorrowed = this.#filled === 0;
    this.#filled = needed;
    this.#channel.keeps?.(bytes.length);
  }

  #take(length: number): Buffer {
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    this.#filled -= length;
    this.#channel.keeps?.(-length);
    return taken;
  }
}

function parse(bytes: Uint8Array): Envelope {
  let json: unknown;
  try {
    json = parseJson(bytes);
  } catch {
    throw malformed("an envelope that is not plain JSON");
  }
  const parsed = v.safeParse(Envelope, json);
  if (!parsed.success) throw malformed("an envelope that is none of call.requested, responded, completed, error");
  return parsed.output;
}

const malformed = (what: string): SortieError => new SortieError("PROTOCOL", `The peer sent ${what}.`);

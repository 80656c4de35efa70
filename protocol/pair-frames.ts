// The frames of a pairing, and what may be in them: `u32be` length and JSON, at most 4 KiB each. pair.ts reads and
// writes them, on both sides.
import * as v from "valibot";
import type { ByteChannel } from "./channel.ts";
import { parseJson } from "./json.ts";
import { limits } from "./limits.ts";
import { RunnerName } from "./messages.ts";

/** A refusal that the other side has earned: a token that is not good, or frames that are none. */
export class Wrong extends Error {}

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`)));
export const ByInvite = v.strictObject({ invite: Hex(8), nonce: Hex(32), name: RunnerName });
export const ByCode = v.strictObject({
  /** Which of the issuer's codes; the secret is what the share is made of. */
  code: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(9)),
  share: Hex(32),
  nonce: Hex(32),
  name: RunnerName,
});
export const Hello = v.union([ByInvite, ByCode]);
export const Challenge = v.strictObject({ nonce: Hex(32), name: RunnerName, share: v.optional(Hex(32)) });
export const Proof = v.strictObject({ proof: Hex(32) });

export class Frames {
  readonly #channel: ByteChannel;
  #pending = Buffer.alloc(0);

  constructor(channel: ByteChannel) {
    this.#channel = channel;
  }

  async read<T>(schema: v.GenericSchema<unknown, T>): Promise<T> {
    const length = (await this.#take(4)).readUInt32BE(0);
    if (length > limits.pairFrameBytes) throw new Wrong(`a pairing frame of ${length} bytes`);
    const json = await this.#take(length);
    try {
      return v.parse(schema, parseJson(json));
    } catch {
      // Without the parser's own words: they quote what the peer sent.
      throw new Wrong("a pairing frame that is none");
    }
  }

  async write(frame: object): Promise<void> {
    const json = Buffer.from(JSON.stringify(frame));
    const length = Buffer.alloc(4);
    length.writeUInt32BE(json.length, 0);
    await this.#channel.write(Buffer.concat([length, json]));
  }

  async #take(length: number): Promise<Buffer> {
    while (this.#pending.length < length) {
      const bytes = await this.#channel.read();
      if (!bytes) throw new Error("the pairing ended in the middle");
      this.#pending = Buffer.concat([this.#pending, bytes]);
      if (this.#pending.length > 4 * limits.pairFrameBytes) throw new Wrong("more than pairing ever takes");
    }
    const taken = this.#pending.subarray(0, length);
    this.#pending = this.#pending.subarray(length);
    return taken;
  }
}

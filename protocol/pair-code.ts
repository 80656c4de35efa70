// A pairing by code: CPace between the two peers as Noise saw them, with their names as what each says of itself. Both
// ends of pair.ts use it.
import { Wrong } from "./pair-frames.ts";

export interface Parties {
  readonly issuer: string;
  readonly joiner: string;
}

export interface ByCodeExchange {
  /** To be sent, in hex. */
  readonly share: string;
  /** The key that both get if they have the same code. Throws Wrong for a share that is none, or that was sent back. */
  key(ownName: string, theirs: { readonly share?: string | undefined; readonly name: string }): Buffer;
}

/** The joiner begins. His nonce is new each time, and so is everything that is made here. */
export async function beginByCode(
  as: "initiator" | "responder",
  secret: string,
  joinerNonce: string,
  { issuer, joiner }: Parties,
): Promise<ByCodeExchange> {
  // Curves in JavaScript take a while to load, and few ever pair by code.
  const { beginExchange, lengthsAndValues } = await import("./cpace.ts");
  const channel = lengthsAndValues(...["/sortie/pair/1 code", joiner, issuer].map((text) => Buffer.from(text)));
  const setting = { secret: Buffer.from(secret), channel, session: Buffer.from(joinerNonce, "hex") };
  const exchange = beginExchange(as, setting);
  return {
    share: exchange.share.toString("hex"),
    key(ownName, theirs) {
      const own = { share: exchange.share, data: Buffer.from(ownName) };
      const other = { share: Buffer.from(theirs.share ?? "", "hex"), data: Buffer.from(theirs.name) };
      if (own.share.equals(other.share)) throw new Wrong("a share that was sent back");
      try {
        return as === "initiator" ? exchange.key(own, other) : exchange.key(other, own);
      } catch {
        throw new Wrong("a share that is none");
      }
    },
  };
}

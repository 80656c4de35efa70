// What an issuer measures a pairing by: the key of the invite, or the one that a code and CPace make, and what is written
// down when the other side proved it, or did not. pair.ts asks it.
import { randomBytes } from "node:crypto";
import type * as v from "valibot";
import type { Invites } from "./invite.ts";
import { beginByCode } from "./pair-code.ts";
import type { ByCode, ByInvite } from "./pair-frames.ts";
import type { Trust } from "./trust.ts";

/** What an attempt is measured by. */
export interface Offer {
  readonly key: Buffer;
  /** What goes to the joiner beside nonce and name. */
  readonly says: object;
  readonly group?: string | undefined;
  /** Has the outcome on disk when it returns, and gives why the attempt is refused. */
  settle(proven: boolean): string | undefined;
}

/** The issuer's side of a pairing, as far as it concerns what is proven. */
export interface OfferSide {
  readonly me: string;
  readonly them: string;
  readonly name: string;
  readonly invites: Invites;
  readonly trust: Trust;
}

/** Asking again is for lost answers. It must not undo what the owner did since. */
const usedAndRemoved = (used: boolean, side: OfferSide): boolean =>
  used && side.trust.removed().some(({ peer }) => peer === side.them);

export function offeredByInvite({ invite }: v.InferOutput<typeof ByInvite>, side: OfferSide): Offer {
  const found = side.invites.keyFor(invite, side.them);
  // An unknown invite is proven against a key of chance: its refusal takes as long and looks as any other.
  if ("refused" in found) return { key: randomBytes(32), says: {}, settle: () => found.refused };
  return {
    key: found.key,
    says: {},
    group: found.group,
    settle(proven) {
      if (!proven) return "a wrong proof: the token is wrong, or somebody sits in between";
      // Anew: the peer may have used it, and have been removed, while this attempt was under way.
      const now = side.invites.keyFor(invite, side.them);
      if ("refused" in now) return now.refused;
      if (usedAndRemoved(now.used, side)) return "an invite that this peer used before it was removed";
      return side.invites.use(invite, side.them) ? undefined : "an invite that another peer used";
    },
  };
}

export async function offeredByCode(hello: v.InferOutput<typeof ByCode>, side: OfferSide): Promise<Offer> {
  const { codes } = side.invites;
  const found = codes.find(hello.code, side.them);
  const secret = "refused" in found ? randomBytes(8).toString("hex") : found.secret;
  const begun = await beginByCode("responder", secret, hello.nonce, { issuer: side.me, joiner: side.them });
  const key = begun.key(side.name, hello);
  const says = { share: begun.share };
  if ("refused" in found) return { key, says, settle: () => found.refused };
  return {
    key,
    says,
    group: found.group,
    settle(proven) {
      const now = codes.find(hello.code, side.them);
      if (proven && "used" in now && usedAndRemoved(now.used, side))
        return "a code that this peer used before it was removed";
      return codes.settle(found.id, side.them, proven);
    },
  };
}

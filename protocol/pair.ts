// The pairing protocol, /sortie/pair/1: four frames that prove both sides hold the same invite, or the same code. Both
// peer IDs as Noise saw them and both nonces are in every proof, so whoever sits in between, ending Noise under an ID of
// his own, has nothing to pass on. The frames themselves never say who one is.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import type * as v from "valibot";
import type { ByteChannel } from "./channel.ts";
import type { Code } from "./code.ts";
import { messageOf, SortieError } from "./errors.ts";
import type { Invite, Invites } from "./invite.ts";
import { limits } from "./limits.ts";
import { beginByCode } from "./pair-code.ts";
import { Challenge, Frames, Hello, Proof, Wrong } from "./pair-frames.ts";
import { offeredByCode, offeredByInvite } from "./pair-offer.ts";
import type { Pin, Trust } from "./trust.ts";

export interface IssuerSide {
  /** Peer IDs as Noise authenticated them, never as a frame says. */
  readonly me: string;
  readonly them: string;
  readonly name: string;
  readonly invites: Invites;
  readonly trust: Trust;
  /** Why it has to wait, and is refused whatever it proves. */
  readonly waits?: string;
  /** Who pairs dials from now on: addresses that it had are not where it is any more. */
  readonly joinersDial?: boolean;
  /** Once the pin is on disk; whether the answer arrives is not known then. */
  readonly onPaired?: (pin: Pin) => void;
  /** Why it was refused: for the issuer's own log, never for the peer. */
  readonly onRefused?: (reason: string) => void;
}

/** Pairings under way, by the record of invites they are about: the peers, once for each. */
const underWay = new WeakMap<Invites, string[]>();

/** How a pairing ended: `wrong` is the other side's doing, and counts against its host; `failed` may be anybody's. */
export type PairingOutcome = "paired" | "wrong" | "failed";

/** Answers one pairing. Never rejects; every failure ends the channel in the same way. */
export async function answerPairing(
  channel: ByteChannel,
  side: IssuerSide,
  withinMs: number = limits.pairMs,
): Promise<PairingOutcome> {
  const peers = underWay.get(side.invites) ?? [];
  underWay.set(side.invites, peers);
  peers.push(side.them);
  const late = setTimeout(() => channel.abort(new SortieError("TIMEOUT", "Pairing took too long.")), withinMs);
  try {
    if (
      peers.length > limits.pairingsAtOnce ||
      peers.filter((peer) => peer === side.them).length > limits.pairingsPerPeer
    )
      throw new Error("too many pairings at once");
    if (side.waits !== undefined) throw new Error(side.waits);
    await answer(new Frames(channel), side);
    await channel.close();
    return "paired";
  } catch (error) {
    side.onRefused?.(messageOf(error));
    channel.abort(new SortieError("PAIRING_REFUSED", "Pairing was refused."));
    return error instanceof Wrong ? "wrong" : "failed";
  } finally {
    clearTimeout(late);
    peers.splice(peers.indexOf(side.them), 1);
  }
}

/** Throws for a refusal; once the peer is pinned nothing is one any more. */
async function answer(frames: Frames, side: IssuerSide): Promise<void> {
  const hello = await frames.read(Hello);
  const nonce = newNonce();
  const offer = "code" in hello ? await offeredByCode(hello, side) : offeredByInvite(hello, side);
  await frames.write({ nonce, name: side.name, ...offer.says });
  const theirProof = await frames.read(Proof);
  const transcript = {
    invite: "code" in hello ? `code ${hello.code}` : hello.invite,
    issuer: side.me,
    joiner: side.them,
    issuerNonce: nonce,
    joinerNonce: hello.nonce,
    issuerName: side.name,
    joinerName: hello.name,
  };
  const proven = same(theirProof.proof, prove(offer.key, "joiner", transcript));
  // Its jobs are its successor's now. Before anything is used up.
  if (proven && side.trust.current(side.them)?.formerly?.includes(side.them))
    throw new Wrong("an identity that its peer has left for another");
  const refused = offer.settle(proven);
  if (refused !== undefined) throw new Wrong(refused);
  // On disk before the answer: a joiner that pins us must find itself pinned.
  const pin = side.trust.pin(side.them, hello.name, side.joinersDial ? [] : undefined, offer.group);
  side.onPaired?.(pin);
  // A lost answer is the joiner's to see; it asks again.
  await frames.write({ proof: prove(offer.key, "issuer", transcript) }).catch(() => {});
}

type JoinerSide = Joiner & ({ readonly invite: Invite } | { readonly code: Code });
interface Joiner {
  /** Peer IDs as Noise authenticated them. */
  readonly me: string;
  readonly them: string;
  /** What this side is called in the issuer's list. */
  readonly name: string;
}

/**
 * Proves the invite, or the code, to its issuer, and gives the issuer's name once it proved the same: pin it only then.
 * Rejects with PAIRING_REFUSED, or TIMEOUT.
 */
export async function requestPairing(
  channel: ByteChannel,
  side: JoinerSide,
  withinMs: number = limits.pairMs,
): Promise<{ readonly name: string }> {
  const timeout = new SortieError("TIMEOUT", "The peer did not answer the pairing in time.");
  const late = setTimeout(() => channel.abort(timeout), withinMs);
  try {
    if ("invite" in side && side.them !== side.invite.peer)
      throw refused("The peer is not the one that issued the invite.");
    const frames = new Frames(channel);
    const nonce = newNonce();
    const proof = await proofOf(side, nonce);
    await frames.write({ ...proof.hello, nonce, name: side.name });
    const challenge = await frames.read(Challenge);
    const key = proof.key(challenge);
    const transcript = {
      invite: proof.names,
      issuer: side.them,
      joiner: side.me,
      issuerNonce: challenge.nonce,
      joinerNonce: nonce,
      issuerName: challenge.name,
      joinerName: side.name,
    };
    await frames.write({ proof: prove(key, "joiner", transcript) });
    const answered = await frames.read(Proof);
    if (!same(answered.proof, prove(key, "issuer", transcript)))
      throw refused(`The peer does not hold the ${"invite" in side ? "invite" : "code"} itself; it is not trusted.`);
    await channel.close();
    return { name: challenge.name };
  } catch (error) {
    channel.abort(new SortieError("PAIRING_REFUSED", "Pairing failed."));
    if (error === timeout || (error instanceof SortieError && error.code === "PAIRING_REFUSED")) throw error;
    throw refused(
      `The peer refused the ${"invite" in side ? "invite: it was used" : "code: it is wrong, was used"}, is over, or was never its own.`,
      error,
    );
  } finally {
    clearTimeout(late);
  }
}

/** How the code stands in what is proven. */
const namesOf = (number: number): string => `code ${number}`;

/** What the joiner says first, what that names, and the key that it makes with the issuer's answer. */
async function proofOf(side: JoinerSide, nonce: string) {
  if ("invite" in side) {
    const { id, key } = side.invite;
    return { hello: { invite: id }, names: id, key: () => key };
  }
  const { number, secret } = side.code;
  const begun = await beginByCode("initiator", secret, nonce, { issuer: side.them, joiner: side.me });
  return {
    hello: { code: number, share: begun.share },
    names: namesOf(number),
    key: (challenge: v.InferOutput<typeof Challenge>) => begun.key(side.name, challenge),
  };
}

const refused = (message: string, cause?: unknown): SortieError =>
  new SortieError("PAIRING_REFUSED", message, { cause });

const newNonce = (): string => randomBytes(32).toString("hex");

interface Transcript {
  readonly invite: string;
  readonly issuer: string;
  readonly joiner: string;
  readonly issuerNonce: string;
  readonly joinerNonce: string;
  readonly issuerName: string;
  readonly joinerName: string;
}

/** Each field with its length before it, so that no two transcripts are the same bytes; the role, against reflection. */
function prove(key: Buffer, role: "issuer" | "joiner", transcript: Transcript): string {
  const hmac = createHmac("sha256", key);
  const { invite, issuer, joiner, issuerNonce, joinerNonce, issuerName, joinerName } = transcript;
  for (const field of [
    "/sortie/pair/1",
    role,
    invite,
    issuer,
    joiner,
    issuerNonce,
    joinerNonce,
    issuerName,
    joinerName,
  ]) {
    hmac.update(`${Buffer.byteLength(field)}:${field}`);
  }
  return hmac.digest("hex");
}

const same = (one: string, other: string): boolean =>
  timingSafeEqual(Buffer.from(one, "hex"), Buffer.from(other, "hex"));

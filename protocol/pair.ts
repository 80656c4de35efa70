// The pairing protocol, /sortie/pair/1: four frames that prove both sides hold the same invite. Both peer IDs as
// Noise saw them and both nonces are in every proof, so whoever sits in between, ending Noise under an ID of his
// own, has nothing to pass on. The frames themselves never say who one is.
import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";
import * as v from "valibot";
import type { ByteChannel } from "./channel.ts";
import { messageOf, SortieError } from "./errors.ts";
import type { Invite, Invites } from "./invite.ts";
import { limits } from "./limits.ts";
import { RunnerName } from "./messages.ts";
import { Frames, Wrong } from "./pair-frames.ts";
import type { Pin, Trust } from "./trust.ts";

const Hex = (bytes: number) => v.pipe(v.string(), v.regex(new RegExp(`^[0-9a-f]{${bytes * 2}}$`)));
const Hello = v.strictObject({ invite: Hex(8), nonce: Hex(32), name: RunnerName });
const Challenge = v.strictObject({ nonce: Hex(32), name: RunnerName });
const Proof = v.strictObject({ proof: Hex(32) });

export interface IssuerSide {
  /** Peer IDs as Noise authenticated them, never as a frame says. */
  readonly me: string;
  readonly them: string;
  readonly name: string;
  readonly invites: Invites;
  readonly trust: Trust;
  /** Why it has to wait, and is refused whatever it proves. */
  readonly waits?: string;
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
  await frames.write({ nonce, name: side.name });
  const theirProof = await frames.read(Proof);
  const found = side.invites.keyFor(hello.invite, side.them);
  // An unknown invite is proven against a key of chance: its refusal takes as long and looks as any other.
  const key = "key" in found ? found.key : randomBytes(32);
  const transcript = {
    invite: hello.invite,
    issuer: side.me,
    joiner: side.them,
    issuerNonce: nonce,
    joinerNonce: hello.nonce,
    issuerName: side.name,
    joinerName: hello.name,
  };
  const proven = same(theirProof.proof, prove(key, "joiner", transcript));
  if ("refused" in found) throw new Wrong(found.refused);
  if (!proven) throw new Wrong("a wrong proof: the token is wrong, or somebody sits in between");
  // Asking again is for lost answers. It must not undo what the owner did since.
  if (found.used && side.trust.removed().includes(side.them))
    throw new Wrong("an invite that this peer used before it was removed");
  if (!side.invites.use(hello.invite, side.them)) throw new Wrong("an invite that another peer used");
  // On disk before the answer: a joiner that pins us must find itself pinned.
  const pin = side.trust.pin(side.them, hello.name, [], found.group);
  side.onPaired?.(pin);
  // A lost answer is the joiner's to see; it asks again.
  await frames.write({ proof: prove(key, "issuer", transcript) }).catch(() => {});
}

/**
 * Proves the invite to its issuer, and gives the issuer's name once it proved the same: pin it only then. Rejects with
 * PAIRING_REFUSED, or TIMEOUT.
 */
export async function requestPairing(
  channel: ByteChannel,
  side: { readonly me: string; readonly them: string; readonly name: string; readonly invite: Invite },
  withinMs: number = limits.pairMs,
): Promise<{ readonly name: string }> {
  const timeout = new SortieError("TIMEOUT", "The peer did not answer the pairing in time.");
  const late = setTimeout(() => channel.abort(timeout), withinMs);
  try {
    const { invite } = side;
    if (side.them !== invite.peer) throw refused("The peer is not the one that issued the invite.");
    const frames = new Frames(channel);
    const nonce = newNonce();
    await frames.write({ invite: invite.id, nonce, name: side.name });
    const challenge = await frames.read(Challenge);
    const transcript = {
      invite: invite.id,
      issuer: side.them,
      joiner: side.me,
      issuerNonce: challenge.nonce,
      joinerNonce: nonce,
      issuerName: challenge.name,
      joinerName: side.name,
    };
    await frames.write({ proof: prove(invite.key, "joiner", transcript) });
    const { proof } = await frames.read(Proof);
    if (!same(proof, prove(invite.key, "issuer", transcript)))
      throw refused("The peer does not hold the invite itself; it is not trusted.");
    await channel.close();
    return { name: challenge.name };
  } catch (error) {
    channel.abort(new SortieError("PAIRING_REFUSED", "Pairing failed."));
    if (error === timeout || (error instanceof SortieError && error.code === "PAIRING_REFUSED")) throw error;
    throw refused("The peer refused the invite: it was used, is over, or was never its own.", error);
  } finally {
    clearTimeout(late);
  }
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

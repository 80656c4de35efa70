// CPace over ristretto255 with SHA-512, in the initiator-responder setting: two sides that share a short secret get a
// key, and whoever plays one of them learns from an attempt only whether one guess was right. As draft-irtf-cfrg-cpace
// has it, and checked against its test vectors; pair.ts uses it for codes.
import { createHash, randomBytes } from "node:crypto";
import { ristretto255, ristretto255_hasher } from "@noble/curves/ed25519.js";

const { Point } = ristretto255;
type Element = InstanceType<typeof Point>;

const DSI = Buffer.from("CPaceRistretto255");
const HASH_BLOCK_BYTES = 128;
const SCALAR_BYTES = 32;

export interface Setting {
  /** The secret that both know: the draft's PRS. */
  readonly secret: Uint8Array;
  /** Both parties and what they are, the initiator first: CI. */
  readonly channel: Uint8Array;
  /** New for each attempt: sid. */
  readonly session: Uint8Array;
}

/** What one side says: its share, Y, and what it wants known to be its own: AD. */
export interface Message {
  readonly share: Uint8Array;
  readonly data: Uint8Array;
}

export interface Exchange {
  /** To be sent to the other side. */
  readonly share: Buffer;
  /** The key that the two messages make, ISK. Throws for a share that is no element, or the neutral one. */
  key(initiator: Message, responder: Message): Buffer;
}

/** `as` says which of the messages is the other side's. The scalar is given by tests alone. */
export function beginExchange(as: "initiator" | "responder", setting: Setting, scalar = newScalar()): Exchange {
  const share = Buffer.from(generatorOf(setting).multiply(numberOf(scalar)).toBytes());
  return {
    share,
    key(initiator, responder) {
      const theirs = as === "initiator" ? responder : initiator;
      const secretPoint = Buffer.from(elementOf(theirs.share).multiply(numberOf(scalar)).toBytes());
      return sha512(
        lengthsAndValues(Buffer.concat([DSI, Buffer.from("_ISK")]), setting.session, secretPoint),
        lengthsAndValues(initiator.share, initiator.data),
        lengthsAndValues(responder.share, responder.data),
      );
    },
  };
}

/** The neutral element would make a key of what everybody knows. No other has a multiple that is it: the order is prime. */
function elementOf(share: Uint8Array): Element {
  const element = Point.fromBytes(Uint8Array.from(share));
  if (element.is0()) throw new Error("a share that is the neutral element");
  return element;
}

function generatorOf({ secret, channel, session }: Setting): Element {
  // The secret is in the first block of the hash, whatever its length.
  const padding = Math.max(0, HASH_BLOCK_BYTES - 1 - withLength(secret).length - withLength(DSI).length);
  const text = lengthsAndValues(DSI, secret, Buffer.alloc(padding), channel, session);
  const derive = ristretto255_hasher.deriveToCurve;
  if (!derive) throw new Error("the library of curves has no element derivation");
  return derive(Uint8Array.from(sha512(text))) as Element;
}

function newScalar(): Buffer {
  const scalar = randomBytes(SCALAR_BYTES);
  // Less than the group's order, which is a little over 2^252.
  scalar[SCALAR_BYTES - 1] = (scalar[SCALAR_BYTES - 1] ?? 0) & 0x0f;
  return scalar;
}

const numberOf = (littleEndian: Buffer): bigint => BigInt(`0x${Buffer.from(littleEndian).reverse().toString("hex")}`);

/** The draft's lv_cat: no two lists of values are the same bytes. */
export const lengthsAndValues = (...values: readonly Uint8Array[]): Buffer => Buffer.concat(values.map(withLength));

/** The length as LEB128, and the value. */
function withLength(value: Uint8Array): Buffer {
  const length: number[] = [];
  let left = value.length;
  for (; left >= 0x80; left >>>= 7) length.push((left & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...length, left]), value]);
}

function sha512(...parts: readonly Buffer[]): Buffer {
  const hash = createHash("sha512");
  for (const part of parts) hash.update(part);
  return hash.digest();
}

// A new key that keeps the trust in the old one: a certificate that both keys signed. A side that dials tells those it
// dials, over connections of its old identity; a side that listens is asked by those who find another identity where they
// knew the old one. Neither needs a person, and who was not told within a month pairs anew.
import { sign, verify } from "node:crypto";
import { join } from "node:path";
import * as v from "valibot";
import type { Handlers } from "./call.ts";
import type { ByteChannel } from "./channel.ts";
import { isOtherPeer } from "./dial-error.ts";
import { asSortieError, SortieError } from "./errors.ts";
import {
  forgetOldIdentity,
  type Identity,
  loadIdentity,
  loadOldIdentity,
  publicKeyOf,
  replaceIdentity,
  signingKeyOf,
} from "./identity.ts";
import { limits } from "./limits.ts";
import { callJson } from "./make-call.ts";
import { type Succession, Successions } from "./messages.ts";
import { CALL_PROTOCOL, type Node, startNode } from "./node.ts";
import { stateFile } from "./state-file.ts";
import { PeerText, type Pin, type Trust } from "./trust.ts";

const State = v.strictObject({
  /** How this side came to the identity it has, the oldest first. */
  successions: Successions,
  /** Peers that this side dials, and that know it by the identity before. */
  waiting: v.array(PeerText),
});

const fileIn = (folder: string) => stateFile(join(folder, "succession.json"), State, { successions: [], waiting: [] });

const textOf = ({ old, new: next, at }: Pick<Succession, "old" | "new" | "at">): string =>
  `sortie succession 1\n${old}\n${next}\n${at}`;

export function signSuccession(old: Identity, next: Identity, at = Date.now()): Succession {
  const named = { old: old.peer, new: next.peer, at };
  const signedBy = (identity: Identity): string =>
    sign(null, Buffer.from(textOf(named)), signingKeyOf(identity)).toString("base64");
  return { ...named, signedByOld: signedBy(old), signedByNew: signedBy(next) };
}

function isSignedBy(peer: string, text: string, signature: string): boolean {
  const key = publicKeyOf(peer);
  return key !== undefined && verify(null, Buffer.from(text), key, Buffer.from(signature, "base64"));
}

/**
 * The identity at the end of a chain that begins with the one that is known. Throws UNTRUSTED for one that is not whole,
 * not signed by both keys of each step, or over.
 */
export function verifySuccessions(successions: readonly Succession[], known: string, now: number = Date.now()): string {
  const refuse = (why: string): never => {
    throw new SortieError("UNTRUSTED", `The succession of the peer …${known.slice(-8)} ${why}.`);
  };
  if (successions.length === 0) refuse("is empty");
  let peer = known;
  for (const one of successions) {
    if (one.old !== peer) refuse("is of another peer");
    if (one.at > now + limits.successionSkewMs) refuse("is from the future");
    if (one.at < now - limits.successionMs) refuse("is over");
    if (!v.is(PeerText, one.new)) refuse("is to none");
    const text = textOf(one);
    if (!isSignedBy(one.old, text, one.signedByOld)) refuse("is not signed by its old key");
    if (!isSignedBy(one.new, text, one.signedByNew)) refuse("is not signed by its new key");
    peer = one.new;
  }
  return peer;
}

/** Gives this side a new key, and those to tell: the peers that it dials. Throws USAGE while some of the last time wait. */
export async function rotate(
  folder: string,
  trust: Trust,
): Promise<{ readonly peer: string; readonly waiting: Pin[] }> {
  const file = fileIn(folder);
  // A crash may have left the record of a key that never was: nobody waits for that.
  const before = (await isDone(folder)) ? waitingPins(folder, trust) : [];
  if (before.length > 0)
    throw new SortieError(
      "USAGE",
      `${before.map((pin) => pin.name).join(", ")} ${before.length === 1 ? "has" : "have"} not been told of the last new key yet.`,
      { hint: "Any command that reaches them tells them; `trust revoke` gives one up." },
    );
  const waiting = trust.list().filter((pin) => pin.addresses.length > 0);
  const { peer } = await replaceIdentity(folder, async (old, next) => {
    const succession = signSuccession(old, next);
    file.change(({ successions }) => ({
      // Without what a crash has left, and with what somebody may still need to come from an earlier one.
      successions: [...chainTo(alive(successions), old.peer), succession].slice(-limits.successions),
      waiting: waiting.map((pin) => pin.peer),
    }));
  });
  if (waiting.length === 0) forgetOldIdentity(folder);
  return { peer, waiting };
}

/** Whether the last key that was made is the one that this side has. */
async function isDone(folder: string): Promise<boolean> {
  return fileIn(folder).read().successions.at(-1)?.new === (await loadIdentity(folder)).peer;
}

const alive = (successions: readonly Succession[]): Succession[] =>
  successions.filter(({ at }) => at > Date.now() - limits.successionMs);

/** The steps that end in this identity, back to the first that is known. */
function chainTo(successions: readonly Succession[], peer: string): Succession[] {
  const chain: Succession[] = [];
  let end = peer;
  for (const one of [...successions].reverse()) {
    if (one.new !== end) continue;
    chain.unshift(one);
    end = one.old;
  }
  return chain;
}

/** What this side answers about itself, and what it takes from others about them. */
export function successionHandlers(
  folder: string,
  me: string,
  trust: Trust,
): Required<Pick<Handlers, "/trust/succession" | "/trust/succeed">> {
  return {
    async "/trust/succession"({ of }) {
      const chain = chainTo(alive(fileIn(folder).read().successions), me);
      const begin = chain.findIndex(({ old }) => old === of);
      return { successions: begin < 0 ? [] : chain.slice(begin) };
    },
    async "/trust/succeed"({ successions }, caller) {
      trust.succeed(caller.peer, verifySuccessions(successions, caller.peer));
      return {};
    },
  };
}

/** Those that this side has to tell yet. After a month nobody is, and the old key is gone. */
export function waitingPins(folder: string, trust: Trust): Pin[] {
  const file = fileIn(folder);
  const { successions, waiting } = file.read();
  if (waiting.length === 0) return [];
  const pins =
    alive(successions.slice(-1)).length === 0 ? [] : trust.list().filter(({ peer }) => waiting.includes(peer));
  if (pins.length === 0) told(folder, waiting);
  return pins;
}

function told(folder: string, peers: readonly string[]): void {
  let left = 0;
  fileIn(folder).change((state) => {
    const waiting = state.waiting.filter((peer) => !peers.includes(peer));
    left = waiting.length;
    return { ...state, waiting };
  });
  if (left === 0) forgetOldIdentity(folder);
}

/**
 * Tells the peer of this side's new identity, where it waits for that, over a connection of the old one. Resolves whether it has
 * been told; what went wrong shows when it is dialled next.
 */
export async function introduce(folder: string, trust: Trust, pin: Pin): Promise<boolean> {
  if (!waitingPins(folder, trust).some(({ peer }) => peer === pin.peer) || !(await isDone(folder))) return true;
  const old = await loadOldIdentity(folder);
  if (!old) return false;
  const me = await loadIdentity(folder);
  const successions = chainTo(fileIn(folder).read().successions, me.peer).slice(-1);
  const isTold =
    (await called(old, trust, pin, (channel) => callJson(channel, "/trust/succeed", { successions }))) ||
    // The answer of an earlier time may have been lost: then it is the new one that it knows.
    (await called(me, trust, pin, (channel) => callJson(channel, "/trust/succession", { of: pin.peer })));
  if (isTold) told(folder, [pin.peer]);
  return isTold;
}

async function called(
  identity: Identity,
  trust: Trust,
  pin: Pin,
  call: (channel: ByteChannel) => Promise<unknown>,
): Promise<boolean> {
  const node = await startNode({ identity, listen: [], trusts: () => false, pairingOpen: () => false });
  try {
    await call(await openFollowing(node, trust, pin));
    return true;
  } catch {
    return false;
  } finally {
    await node.stop();
  }
}

/** A channel for a call to the peer, also where it has another key by now. Rejects as the node's open() does. */
export async function openFollowing(node: Node, trust: Trust, pin: Pin): Promise<ByteChannel> {
  try {
    return await node.open(pin.peer, pin.addresses, CALL_PROTOCOL);
  } catch (error) {
    const successor = isOtherPeer(error) ? await follow(node, trust, pin) : undefined;
    if (!successor) throw error;
    return node.open(successor.peer, successor.addresses, CALL_PROTOCOL);
  }
}

/** One question to somebody who is not trusted. */
async function asked(node: Node, peer: string, address: string, of: string) {
  const channel = await node.open(peer, [address], CALL_PROTOCOL);
  const late = setTimeout(() => channel.abort(new SortieError("TIMEOUT", "No answer in time.")), limits.pairMs);
  return await callJson(channel, "/trust/succession", { of }).finally(() => clearTimeout(late));
}

/**
 * Asks whoever answers at the peer's addresses whether it is the peer under another identity, and believes what the peer's
 * old key has signed, nothing else. Gives the new pin; `undefined` where nobody there is.
 */
export async function follow(node: Node, trust: Trust, pin: Pin): Promise<Pin | undefined> {
  const decide = async (peer: string, address: string): Promise<Pin | undefined> => {
    const followed = (): Pin | undefined => {
      const current = trust.current(pin.peer);
      return current?.peer === peer ? current : undefined;
    };
    // Another call was faster; or it is somebody else that this side knows.
    if (trust.has(peer)) return followed();
    const { successions } = await asked(node, peer, address, pin.peer);
    if (verifySuccessions(successions, pin.peer) !== peer) return undefined;
    return trust.has(pin.peer) ? trust.succeed(pin.peer, peer) : followed();
  };
  for (const address of pin.addresses) {
    try {
      const there = address.replace(/\/p2p\/[^/]*$/, "");
      const successor = await node.meet(there, (peer) => decide(peer, there));
      if (successor) return successor;
    } catch (error) {
      // Somebody else's address by now, or nobody's.
      if (asSortieError(error).code === "STATE_INVALID") throw error;
    }
  }
  return undefined;
}

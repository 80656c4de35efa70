// The way of an invite, or a code, at the side that was given it, up to the proof: `coordinator add` and `runner start --join`.
import { type Code, parseCode } from "./code.ts";
import { asSortieError, SortieError } from "./errors.ts";
import { type Invite, parseAddress, parseInvite } from "./invite.ts";
import type { Node } from "./node.ts";
import { requestPairing } from "./pair.ts";

/** What a person was given: an invite, or a code and an address that may name its peer. */
export type Given =
  | { readonly invite: Invite }
  | { readonly code: Code; readonly address: string; readonly peer: string | undefined };

/** Reads the URL of an invite, or with a code the address. Throws INVITE_INVALID, and USAGE. */
export const parseGiven = (text: string, code: string | undefined): Given =>
  code === undefined ? { invite: parseInvite(text) } : { code: parseCode(code), ...parseAddress(text) };

/** Where a peer is, and the one identity that may answer there. */
export interface Issuer {
  readonly peer: string;
  readonly addresses: readonly string[];
}

/**
 * Whom to dial. An address that somebody told names no peer: then whoever answers there is asked, and the dial is
 * pinned to him. That he is the right one is what the code proves, with both peer IDs in it.
 */
export async function issuerOf(given: Given, node: Node): Promise<Issuer> {
  if ("invite" in given) return given.invite;
  const peer = given.peer ?? (await node.meet(given.address, async (answers) => answers));
  return { peer, addresses: [given.peer === undefined ? `${given.address}/p2p/${peer}` : given.address] };
}

/**
 * Dials the issuer, and no other, and proves what was given; gives the peer's name once it has proved the same. Rejects with
 * RUNNER_UNREACHABLE, PAIRING_REFUSED or TIMEOUT.
 */
export const proveGiven = (
  node: Node,
  name: string,
  given: Given,
  issuer: Issuer,
): Promise<{ readonly name: string }> =>
  "invite" in given ? proveInvite(node, name, given.invite) : proveCode(node, name, given.code, issuer);

/** The same for an invite, which names its issuer. */
export function proveInvite(node: Node, name: string, invite: Invite): Promise<{ readonly name: string }> {
  return prove(node, name, invite, { invite });
}

/** The same for a code, at the peer that answers at an address that somebody told. */
export function proveCode(node: Node, name: string, code: Code, issuer: Issuer): Promise<{ readonly name: string }> {
  return prove(node, name, issuer, { code });
}

async function prove(
  node: Node,
  name: string,
  { peer, addresses }: Issuer,
  by: { readonly invite: Invite } | { readonly code: Code },
): Promise<{ readonly name: string }> {
  const channel = await node.open(peer, addresses, "/sortie/pair/1").catch((error: unknown) => {
    // A peer without a living invite ends a stranger's connection before any stream.
    if (asSortieError(error).code !== "UNTRUSTED") throw error;
    const what = "invite" in by ? "invite" : "code";
    const why = `the ${what} was used or is over, or too many pairings from this host failed`;
    throw new SortieError("PAIRING_REFUSED", `The peer ended the connection: ${why}.`, {
      hint: "The log of the other side names a host that has to wait, ten minutes at most; otherwise make a new one there.",
      cause: error,
    });
  });
  return requestPairing(channel, { me: node.peer, them: peer, name, ...by });
}

// The way of an invite, or a code, at the side that was given it, up to the proof: `coordinator add` and `runner start --join`.
import type { Code } from "./code.ts";
import { asSortieError, SortieError } from "./errors.ts";
import type { Invite } from "./invite.ts";
import type { Node } from "./node.ts";
import { requestPairing } from "./pair.ts";

/** Where a peer is, and the one identity that may answer there. */
export interface Issuer {
  readonly peer: string;
  readonly addresses: readonly string[];
}

/**
 * Dials the peer that issued the invite, and no other, and proves it; gives the peer's name once it has proved the same.
 * Rejects with RUNNER_UNREACHABLE, PAIRING_REFUSED or TIMEOUT.
 */
export function proveInvite(node: Node, name: string, invite: Invite): Promise<{ readonly name: string }> {
  return prove(node, name, invite, { invite });
}

/** The same with a code, at the peer that answers at an address that somebody told. */
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
    throw new SortieError("PAIRING_REFUSED", `The peer ended the connection: the ${what} was used or is over.`, {
      cause: error,
    });
  });
  return requestPairing(channel, { me: node.peer, them: peer, name, ...by });
}

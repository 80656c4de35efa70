// The way of an invite at the side that was given it, up to the proof: `coordinator add` and `runner start --join`.
import { asSortieError, SortieError } from "./errors.ts";
import type { Invite } from "./invite.ts";
import type { Node } from "./node.ts";
import { requestPairing } from "./pair.ts";

/**
 * Dials the peer that issued the invite, and no other, and proves it; gives the peer's name once it has proved the same.
 * Rejects with RUNNER_UNREACHABLE, PAIRING_REFUSED or TIMEOUT.
 */
export async function proveInvite(node: Node, name: string, invite: Invite): Promise<{ readonly name: string }> {
  const channel = await node.open(invite.peer, invite.addresses, "/sortie/pair/1").catch((error: unknown) => {
    // A peer without a living invite ends a stranger's connection before any stream.
    if (asSortieError(error).code === "UNTRUSTED")
      throw new SortieError("PAIRING_REFUSED", "The peer ended the connection: the invite was used or is over.", {
        cause: error,
      });
    throw error;
  });
  return requestPairing(channel, { me: node.peer, them: invite.peer, name, invite });
}

// Who gets a connection: known peers, and strangers only while an invite lives. Everything before that is bounded.
import type { ConnectionGater, MultiaddrConnection } from "@libp2p/interface";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";

export interface Gate {
  trusts(peer: string): boolean;
  /** Whether a stranger may connect, to reach the pairing protocol and nothing else. */
  pairingOpen(): boolean;
}

/** libp2p's own default allows everybody. Peers that this node dials are pinned by their address; see node.ts. */
export function connectionGater(gate: Gate): ConnectionGater {
  const uncap = new WeakMap<MultiaddrConnection, () => void>();
  return {
    denyInboundConnection: (connection) => {
      const lift = capInput(connection);
      if (!lift) return true;
      uncap.set(connection, lift);
      return false;
    },
    denyInboundEncryptedConnection: (peer, connection) => {
      if (!gate.trusts(peer.toString()) && !gate.pairingOpen()) return true;
      uncap.get(connection)?.();
      return false;
    },
    // Nothing is ever dialled but what open() names, with its peer ID; the addresses peers tell are not looked at.
    denyDialMultiaddr: () => false,
    filterMultiaddrForPeer: () => false,
  };
}

/**
 * Before a peer is authenticated a megabyte of garbage costs hundreds of megabytes of memory and a second of the
 * event loop; a handshake needs about one kibibyte. Counts what arrives by stepping before the connection's own
 * onData, and gives the function that steps aside again; `undefined` where the connection has no such method.
 */
function capInput(connection: MultiaddrConnection): (() => void) | undefined {
  const target = connection as unknown as { onData?: (bytes: Uint8Array) => void };
  const onData = target.onData;
  if (typeof onData !== "function") return undefined;
  let total = 0;
  target.onData = (bytes) => {
    total += bytes.byteLength;
    if (total <= limits.unauthenticatedBytes) return onData.call(connection, bytes);
    connection.abort(new SortieError("PROTOCOL", "A peer sent too much before it was authenticated."));
  };
  return () => {
    delete target.onData;
  };
}

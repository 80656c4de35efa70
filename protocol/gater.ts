// Who gets a connection: known peers, and strangers only while an invite lives. Everything before that is bounded.
import type { ConnectionGater, MultiaddrConnection } from "@libp2p/interface";
import { limits } from "./limits.ts";

export interface Gate {
  trusts(peer: string): boolean;
  /** Whether this peer may connect though it is a stranger, to reach the pairing protocol and nothing else. */
  pairingOpen(peer: string): boolean;
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
      if (!gate.trusts(peer.toString()) && !gate.pairingOpen(peer.toString())) return true;
      uncap.get(connection)?.();
      return false;
    },
    // Nothing is ever dialled but what open() names, with its peer ID; the addresses peers tell are not looked at.
    denyDialMultiaddr: () => false,
    filterMultiaddrForPeer: () => false,
  };
}

/** What of a libp2p TCP connection is used here; `undefined` methods mean another libp2p, and nobody is let in. */
interface Inner {
  onData?: (bytes: Uint8Array) => void;
  sendPause?: () => void;
  sendResume?: () => void;
}

/**
 * Before a peer is authenticated a megabyte of garbage costs hundreds of megabytes of memory and a second of the
 * event loop; a handshake needs about one kibibyte. So only so much is let through, and the socket is not read any
 * further until the handshake is over: an honest peer's first calls may well arrive right behind it. Gives the
 * function that lets everything through.
 */
function capInput(connection: MultiaddrConnection): (() => void) | undefined {
  const inner = connection as unknown as Inner;
  const { onData, sendPause, sendResume } = inner;
  if (!onData || !sendPause || !sendResume) return undefined;
  let room: number = limits.unauthenticatedBytes;
  const held: Uint8Array[] = [];
  inner.onData = (bytes) => {
    const passed = bytes.subarray(0, room);
    room -= passed.length;
    if (passed.length < bytes.length) {
      held.push(bytes.subarray(passed.length));
      sendPause.call(connection);
    }
    if (passed.length > 0) onData.call(connection, passed);
  };
  return () => {
    delete inner.onData;
    for (const bytes of held) onData.call(connection, bytes);
    if (held.length > 0) sendResume.call(connection);
  };
}

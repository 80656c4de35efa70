// Who gets a connection: known peers, and strangers only while an invite lives. Everything before that is bounded.
import type { ConnectionGater, ConnectionProtector, MessageStream, MultiaddrConnection } from "@libp2p/interface";
import { limits } from "./limits.ts";
import { hostOf } from "./slowdown.ts";
import { type RawConnection, rawOf, type Turns } from "./turns.ts";

export interface Gate {
  trusts(peer: string): boolean;
  /** Whether this peer may connect from this host though it is a stranger, to reach the pairing protocol and nothing else. */
  pairingOpen(peer: string, host: string): boolean;
  /** Told of a stranger that is given no connection. */
  onStranger?(peer: string, host: string): void;
}

/** The other end's host, as the failures of pairings are counted. */
export const hostAt = (connection: Pick<MultiaddrConnection, "remoteAddr">): string =>
  hostOf(connection.remoteAddr.getComponents()[0]?.value ?? "");

/**
 * libp2p's own default allows everybody. What peers may send before they are authenticated is capped in both
 * directions: whoever listens at a runner's old address is a stranger, too. A stranger that was let in for pairing
 * stays capped, is one of few, and loses the connection when the time for pairing is over.
 */
export function connectionGater(
  gate: Gate,
  connectionsPerPeer: number,
  turns: Turns,
): ConnectionGater & ConnectionProtector {
  const caps = new WeakMap<MessageStream, Cap>();
  const pending = pendingConnections();
  const connections = new Map<string, number>();
  let strangers = 0;
  const strangersOf = new Map<string, number>();

  function admitStranger(peer: string, connection: MultiaddrConnection, cap: Cap): boolean {
    const host = hostAt(connection);
    const others = strangersOf.get(host) ?? 0;
    if (strangers >= limits.strangers || others >= limits.strangersPerHost) return false;
    const late = setTimeout(() => {
      if (gate.trusts(peer)) cap.lift();
      else connection.abort(new Error("A stranger's time is over."));
    }, limits.pairMs);
    late.unref();
    strangers++;
    strangersOf.set(host, others + 1);
    connection.addEventListener("close", () => {
      clearTimeout(late);
      strangers--;
      const left = (strangersOf.get(host) ?? 1) - 1;
      if (left > 0) strangersOf.set(host, left);
      else strangersOf.delete(host);
    });
    cap.widen(limits.unauthenticatedBytes);
    // Whoever has paired meanwhile may go on.
    cap.whenFull(() => {
      if (gate.trusts(peer)) cap.lift();
      else connection.abort(new Error("A stranger sent more than pairing takes."));
    });
    return true;
  }

  /** False for one more connection than a peer may have. */
  function count(peer: string, connection: MultiaddrConnection): boolean {
    const open = connections.get(peer) ?? 0;
    if (open >= connectionsPerPeer) return false;
    connections.set(peer, open + 1);
    connection.addEventListener("close", () => {
      const left = (connections.get(peer) ?? 1) - 1;
      if (left === 0) connections.delete(peer);
      else connections.set(peer, left);
    });
    return true;
  }

  return {
    // The one step before the handshake that libp2p takes for every connection: its gate is not asked about a dial without a peer ID.
    async protect(connection) {
      const raw = rawOf(connection);
      if (!raw) throw new Error("What it sends cannot be bounded.");
      turns.begin(connection, raw);
      caps.set(connection, capInput(raw));
      return connection;
    },
    denyInboundConnection(connection) {
      pending.begin(connection);
      return false;
    },
    denyInboundEncryptedConnection: (peer, connection) => {
      pending.end(connection);
      if (!count(peer.toString(), connection)) return true;
      turns.belongs(connection, peer.toString());
      const cap = caps.get(connection);
      if (!cap) return true;
      const known = gate.trusts(peer.toString());
      if (!known) {
        const id = peer.toString();
        const admitted = gate.pairingOpen(id, hostAt(connection)) && admitStranger(id, connection, cap);
        if (!admitted) gate.onStranger?.(id, hostAt(connection));
        return !admitted;
      }
      cap.lift();
      return false;
    },
    denyOutboundEncryptedConnection: (peer, connection) => {
      const id = peer.toString();
      // Noise has compared them already. Who was only met is a stranger until this side knows better.
      const dialled = connection.remoteAddr.getComponents().findLast((component) => component.name === "p2p")?.value;
      if (dialled !== undefined && dialled !== id) return true;
      const cap = caps.get(connection);
      if (!cap) return true;
      turns.belongs(connection, id);
      if (gate.trusts(id)) cap.lift();
      // Pairing, or one question: whoever has paired meanwhile may go on.
      else
        cap.whenFull(() => {
          if (gate.trusts(id)) cap.lift();
          else connection.abort(new Error("A stranger sent more than pairing takes."));
        });
      return false;
    },
    // Nothing is ever dialled but what open() and meet() name; the addresses peers tell are not looked at.
    denyDialMultiaddr: () => false,
    filterMultiaddrForPeer: () => false,
  };
}

/**
 * Connections in the middle of their handshake, the oldest first. One too many ends the oldest of the same address, or
 * of the address that has the most: so slow sockets keep nobody out, who gets through in milliseconds.
 */
function pendingConnections() {
  const byAddress = new Map<string, Set<MultiaddrConnection>>();
  let all = 0;
  const addressOf = (connection: MultiaddrConnection): string =>
    String(connection.remoteAddr.getComponents().find(({ name }) => name.startsWith("ip"))?.value);

  function end(connection: MultiaddrConnection): void {
    const address = addressOf(connection);
    const those = byAddress.get(address);
    if (!those?.delete(connection)) return;
    all--;
    if (those.size === 0) byAddress.delete(address);
  }

  return {
    begin(connection: MultiaddrConnection): void {
      const address = addressOf(connection);
      const those = byAddress.get(address) ?? new Set();
      byAddress.set(address, those.add(connection));
      all++;
      connection.addEventListener("close", () => end(connection));
      let fullest = those;
      if (all > limits.pendingConnections)
        for (const others of byAddress.values()) if (others.size > fullest.size) fullest = others;
      if (all <= limits.pendingConnections && those.size <= limits.pendingPerAddress) return;
      for (const oldest of fullest) {
        end(oldest);
        oldest.abort(new Error("Too many connections are in their handshake; the oldest gives up its place."));
        return;
      }
    },
    end,
  };
}

interface Cap {
  /** Lets so much more through, and what was held back of it first. */
  widen(bytes: number): void;
  /** Lets everything through from now on, and what was held back first. */
  lift(): void;
  /** Called once more comes than is let through, or at once where that was so already. */
  whenFull(listener: () => void): void;
}

/**
 * Before a peer is authenticated a megabyte of garbage costs hundreds of megabytes of memory and a second of the
 * event loop (and 16 KiB of it, which libp2p reads anew with each byte, still a tenth); a handshake needs less than one
 * kibibyte, pairing less than ten. So only so much is let through, and the
 * socket is not read any further: an honest peer's first calls may well arrive right behind its handshake, and wait.
 */
function capInput(connection: RawConnection): Cap {
  const { onData } = connection;
  let room: number = limits.handshakeBytes;
  let full = (): void => {};
  const held: Uint8Array[] = [];
  connection.onData = (bytes) => {
    const passed = bytes.subarray(0, room);
    room -= passed.length;
    if (passed.length < bytes.length) {
      held.push(bytes.subarray(passed.length));
      connection.sendPause();
    }
    if (passed.length > 0) onData.call(connection, passed);
    if (held.length > 0) full();
  };
  return {
    widen(bytes) {
      room += bytes;
      const waiting = held.splice(0);
      for (const piece of waiting) connection.onData(piece);
      if (waiting.length > 0 && held.length === 0) connection.sendResume();
    },
    lift() {
      connection.onData = onData;
      const waiting = held.splice(0);
      for (const bytes of waiting) onData.call(connection, bytes);
      if (waiting.length > 0) connection.sendResume();
    },
    whenFull(listener) {
      full = listener;
      if (held.length > 0) full();
    },
  };
}

// What both sides start to reach each other: peers that are trusted call and are called, strangers reach pairing at most. How libp2p is
// set up for that is in libp2p-node.ts.
import { setTimeout as delay } from "node:timers/promises";
import type { Connection, PeerId, Stream } from "@libp2p/interface";
import { peerIdFromString } from "@libp2p/peer-id";
import { CODE_P2P, type Multiaddr, multiaddr } from "@multiformats/multiaddr";
import type { ByteChannel } from "./channel.ts";
import { isLate, isOneTooMany, unreachable } from "./dial-error.ts";
import { asSortieError, SortieError } from "./errors.ts";
import { connectionGater, type Gate, hostAt } from "./gater.ts";
import type { Identity } from "./identity.ts";
import { channelOf, resetUnfinished } from "./libp2p-channel.ts";
import { createNode } from "./libp2p-node.ts";
import { limits } from "./limits.ts";
import { type LoadLimits, Loads } from "./peer-load.ts";
import { refuseCall } from "./serve-call.ts";
import { boundStreams } from "./stream-count.ts";
import { openTurns } from "./turns.ts";
import { within } from "./within.ts";

export const CALL_PROTOCOL = "/sortie/call/1";
export const PAIR_PROTOCOL = "/sortie/pair/1";
export type Protocol = typeof CALL_PROTOCOL | typeof PAIR_PROTOCOL;

export interface NodeOptions extends Gate {
  readonly identity: Identity;
  /** Multiaddrs to listen on; none for a peer that only dials. */
  readonly listen: readonly string[];
  /** A peer of which nothing is heard for so long has its connection ended; milliseconds. */
  readonly silenceMs?: number;
  /** What one peer may cost, where it is not as `limits` has it. */
  readonly load?: Partial<LoadLimits>;
  /** A trusted peer's call; it is over, for what the peer may ask for, once this resolves. */
  readonly onCall?: (channel: ByteChannel, peer: string) => unknown;
  /** Told of a call that is refused before anybody reads it: the peer has too many, or is not trusted any more. */
  readonly onCallRefused?: (peer: string, error: SortieError) => void;
  /**
   * Peers dial this one, and keep one connection each: a new one of a peer ends the one before, which that peer holds for
   * dead though nothing may have been heard of that here.
   */
  readonly oneConnectionEach?: boolean;
  /** A stranger or a known peer that wants to pair. */
  readonly onPair?: (channel: ByteChannel, peer: string, host: string) => unknown;
}

export interface Node {
  readonly peer: string;
  /** Where it listens, each address pinned by /p2p/PEER. */
  addresses(): string[];
  /**
   * A channel to exactly this peer, over its connection or a new one to one of the addresses. Rejects with
   * RUNNER_UNREACHABLE, also where it does not answer in time, with TOO_MANY where the connection carries as many calls as
   * it can, or with UNTRUSTED where the peer ended it right after the handshake.
   */
  open(peer: string, addresses: readonly string[], protocol: Protocol, signal?: AbortSignal): Promise<ByteChannel>;
  /**
   * Connects to exactly this peer, unless it is connected already; `ended` resolves when that connection ends, and tells
   * whether the peer called over it.
   */
  connect(peer: string, addresses: readonly string[], withinMs: number): Promise<{ readonly ended: Promise<boolean> }>;
  /** Whether the peer is connected, at once or within so many milliseconds: for one that dials by itself. */
  arrives(peer: string, withinMs: number): Promise<boolean>;
  /**
   * Connects to whoever is at the address, as Noise authenticates it. Whether that is the right one is for `decide` to find
   * out; what the peer calls meanwhile waits for that, and has its answer over the same connection, which ends afterwards
   * unless the peer is trusted by then. Rejects with RUNNER_UNREACHABLE, and as `decide` does, which must have an end.
   */
  meet<Found>(address: string, decide: (peer: string) => Promise<Found>): Promise<Found>;
  /** Ends the peer's connections, and with them its calls. */
  disconnect(peer: string): void;
  /** Ends every connection and every listener. */
  stop(): Promise<void>;
}

export async function startNode(options: NodeOptions): Promise<Node> {
  const perConnection = limits.callsPerConnection;
  const load: LoadLimits = { ...limits, ...options.load };
  const turns = openTurns();
  const node = await createNode({
    privateKey: options.identity.privateKey,
    listen: options.listen,
    silenceMs: options.silenceMs ?? limits.silenceMs,
    unsentBytes: load.connectionUnsentBytes,
    turns,
    gate: connectionGater(options, load.connectionsPerPeer, turns),
  });

  const called = new WeakSet<Connection>();
  const loads = new Loads(load);
  boundStreams(node, load.streamsPerPeer);

  function refuse(channel: ByteChannel, peer: string, error: SortieError): Promise<void> {
    options.onCallRefused?.(peer, error);
    return refuseCall(channel, error);
  }

  /** Serves the channel once it is the peer's turn. */
  async function take(channel: ByteChannel, peer: string, handle: () => unknown): Promise<void> {
    const own = loads.of(peer);
    let waitMs: number;
    try {
      waitMs = own.begin();
    } catch (error) {
      return refuse(channel, peer, asSortieError(error));
    }
    try {
      if (waitMs > 0) await delay(waitMs, undefined, { signal: channel.lost }).catch(() => {});
      await handle();
    } finally {
      own.end();
    }
  }

  /** Peers that were met, until it is decided who they are. */
  const meeting = new Map<string, Promise<unknown>>();

  const serve = (
    handler: (channel: ByteChannel, peer: string, host: string) => unknown,
    admits: (peer: string, host: string) => boolean,
  ) => {
    return async (stream: Stream, connection: Connection): Promise<void> => {
      called.add(connection);
      const peer = connection.remotePeer.toString();
      const host = hostAt(connection);
      const channel = channelOf(stream, loads.of(peer));
      if (!admits(peer, host)) await meeting.get(peer)?.catch(() => {});
      if (admits(peer, host)) void take(channel, peer, () => handler(channel, peer, host));
      else {
        const untrusted = new SortieError("UNTRUSTED", "This peer does not trust the one that called it.");
        void refuse(channel, peer, untrusted);
      }
    };
  };
  const streams = { maxInboundStreams: perConnection, maxOutboundStreams: perConnection };
  if (options.onCall) await node.handle(CALL_PROTOCOL, serve(options.onCall, options.trusts), streams);
  if (options.onPair)
    await node.handle(
      PAIR_PROTOCOL,
      serve(options.onPair, (peer, host) => options.pairingOpen(peer, host)),
      streams,
    );

  const ids = new Map<string, PeerId>();
  const idOf = (peer: string): PeerId => {
    const known = ids.get(peer) ?? peerIdFromString(peer);
    ids.set(peer, known);
    return known;
  };
  const openTo = (peer: string): Connection | undefined =>
    node.getConnections(idOf(peer)).findLast((connection) => connection.status === "open");
  const dialling = new Map<string, Promise<Connection>>();

  if (options.oneConnectionEach)
    node.addEventListener("connection:open", ({ detail: newest }) => {
      for (const older of node.getConnections(newest.remotePeer))
        if (older !== newest) older.abort(new SortieError("CONNECTION_LOST", "The peer has connected anew."));
    });

  async function connect(peer: string, addresses: readonly string[], signal?: AbortSignal): Promise<Connection> {
    const open = openTo(peer);
    if (open) return open;
    const under = dialling.get(peer);
    if (under) return under;
    const dial = node
      .dial(
        addresses.map((address) => pinned(address, peer)),
        { signal: dialSignal(signal) },
      )
      .finally(() => dialling.delete(peer));
    dialling.set(peer, dial);
    return dial;
  }

  async function meet<Found>(address: string, decide: (peer: string) => Promise<Found>): Promise<Found> {
    const plain = multiaddr(address).decapsulateCode(CODE_P2P);
    const connection = await node.dial(plain, { signal: dialSignal(undefined) }).catch((error: unknown) => {
      throw unreachable("", [address], error);
    });
    const id = connection.remotePeer;
    const peer = id.toString();
    const isAnother = node.getConnections(id).some((other) => other !== connection && other.status === "open");
    const end = (): void => connection.abort(new SortieError("CONNECTION_LOST", "The peer was only met."));
    // It is called over the one that there is.
    if (isAnother) end();
    const decided = decide(peer);
    meeting.set(peer, decided);
    try {
      return await decided;
    } finally {
      if (meeting.get(peer) === decided) meeting.delete(peer);
      if (!options.trusts(peer)) end();
    }
  }

  return {
    peer: options.identity.peer,
    addresses: () => node.getMultiaddrs().map(String),
    async open(peer, addresses, protocol, signal) {
      let connection: Connection;
      try {
        connection = await connect(peer, addresses, signal);
      } catch (error) {
        throw unreachable(peer, addresses, error);
      }
      try {
        // A signal of our own: without one libp2p makes a time-out for each stream, and leaves its timer behind.
        return channelOf(
          await connection.newStream(protocol, { maxOutboundStreams: perConnection, ...(signal ? { signal } : {}) }),
          loads.of(peer),
        );
      } catch (error) {
        if (signal?.aborted) throw signal.reason;
        if (connection.status === "open" && isOneTooMany(error))
          throw new SortieError("TOO_MANY", `The connection to the peer ${peer.slice(-8)} carries no more calls.`, {
            cause: error,
          });
        if (connection.status === "open" && isLate(error)) throw unreachable(peer, addresses, error);
        // The gate of the other side works after the handshake: a peer it does not know loses the connection then.
        throw new SortieError(
          "UNTRUSTED",
          `The peer ${peer.slice(-8)} ended the connection: it does not know this one, or it is stopping.`,
          { cause: error },
        );
      }
    },
    async connect(peer, addresses, withinMs) {
      try {
        const connection = await connect(peer, addresses, AbortSignal.timeout(withinMs));
        const ended = new Promise<boolean>((resolve) => {
          const over = (): void => resolve(called.has(connection));
          connection.addEventListener("close", over, { once: true });
          if (connection.status !== "open") over();
        });
        return { ended };
      } catch (error) {
        throw unreachable(peer, addresses, error);
      }
    },
    async arrives(peer, withinMs) {
      const arrived = Promise.withResolvers<void>();
      const look = (): void => {
        if (openTo(peer)) arrived.resolve();
      };
      node.addEventListener("connection:open", look);
      look();
      try {
        await within(arrived.promise, withinMs);
        return openTo(peer) !== undefined;
      } finally {
        node.removeEventListener("connection:open", look);
      }
    },
    meet,
    disconnect(peer) {
      for (const connection of node.getConnections(idOf(peer)))
        connection.abort(new SortieError("UNTRUSTED", "The peer is no longer trusted."));
    },
    async stop() {
      await Promise.all(
        node.getConnections().map((connection) => {
          resetUnfinished(connection.streams, new SortieError("CONNECTION_LOST", "This side is stopping."));
          // A peer that goes at the same moment can leave libp2p waiting with nothing under way.
          const closing = connection.close({ signal: AbortSignal.timeout(limits.closeMs) });
          return within(closing, limits.closeMs).catch(() => {});
        }),
      );
      await within(Promise.resolve(node.stop()), limits.stopMs).catch(() => {});
    },
  };
}

const dialSignal = (signal: AbortSignal | undefined): AbortSignal =>
  AbortSignal.any([AbortSignal.timeout(limits.dialMs), ...(signal ? [signal] : [])]);

/** The address with the peer's ID: a dial without it would accept any identity. */
function pinned(address: string, peer: string): Multiaddr {
  const parsed = multiaddr(address);
  const named = parsed.getComponents().find((component) => component.name === "p2p")?.value;
  if (named !== undefined && named !== peer)
    throw new SortieError("USAGE", `The address ${address} names another peer than ${peer}.`);
  return named === undefined ? parsed.encapsulate(`/p2p/${peer}`) : parsed;
}

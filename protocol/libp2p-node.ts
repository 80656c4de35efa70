// How node.ts sets libp2p up: TCP, Noise, yamux, one identity, raised limits, and a gate. Nothing else runs on it: no identify
// (a stranger must reach pairing only), no discovery, no middleware (it would run handlers twice).
import type { ConnectionGater, ConnectionProtector, Libp2p, PrivateKey } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { createLibp2p } from "libp2p";
import { boundedFrames } from "./bounded-frames.ts";
import { reasonOf } from "./dial-error.ts";
import { messageOf, SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { withMuxer } from "./muxer.ts";
import { endSilent } from "./silence.ts";
import type { Turns } from "./turns.ts";

interface Setup {
  readonly privateKey: PrivateKey;
  readonly listen: readonly string[];
  readonly silenceMs: number;
  /** What waits to be sent over one connection. */
  readonly unsentBytes: number;
  readonly turns: Turns;
  readonly gate: ConnectionGater & ConnectionProtector;
}

/** Node passes highWaterMark on to the socket (since 18.17), though the types of libp2p do not know it: a busy stream waits less often. */
const socketOptions = { noDelay: true, keepAlive: true, highWaterMark: 1024 * 1024 };

/** Rejects with LISTEN_FAILED. */
export function createNode({ privateKey, listen, silenceMs, unsentBytes, turns, gate }: Setup): Promise<Libp2p> {
  return createLibp2p({
    privateKey,
    addresses: { listen: [...listen] },
    transports: [
      tcp({
        // A quiet job is not a dead one: yamux pings, and a socket may be idle for longer than that.
        inboundSocketInactivityTimeout: limits.socketIdleMs,
        outboundSocketInactivityTimeout: limits.socketIdleMs,
        backlog: limits.pendingConnections,
        dialOpts: { ...socketOptions },
        listenOpts: { ...socketOptions },
      }),
    ],
    connectionEncrypters: [noise()],
    streamMuxers: [
      endSilent(
        silenceMs,
        withMuxer(
          boundedFrames(
            unsentBytes,
            yamux({
              maxInboundStreams: limits.callsPerConnection,
              maxOutboundStreams: limits.callsPerConnection,
              maxEarlyStreams: limits.callsPerConnection,
              keepAliveInterval: silenceMs / 3,
              streamOptions: {
                maxReadBufferLength: limits.channelUnreadBytes,
                maxStreamWindowSize: limits.frameBytes,
                inactivityTimeout: limits.timeoutMaximumMs,
              },
            }),
          ),
          turns.around,
        ),
      ),
    ],
    connectionGater: gate,
    connectionProtector: () => gate,
    connectionMonitor: { enabled: false },
    connectionManager: {
      maxConnections: limits.connections,
      inboundConnectionThreshold: limits.newConnectionsPerSecond,
      // The gate bounds them, and gives a new one the place of the oldest: here none would be left for it.
      maxIncomingPendingConnections: 2 * limits.pendingConnections,
      maxParallelDials: limits.pendingConnections,
      maxDialQueueLength: limits.connections,
      inboundUpgradeTimeout: limits.handshakeMs,
      inboundStreamProtocolNegotiationTimeout: limits.negotiationMs,
      outboundStreamProtocolNegotiationTimeout: limits.negotiationMs,
      dialTimeout: limits.dialMs,
      addressDialTimeout: limits.dialMs,
      reconnectRetries: 0,
    },
  }).catch((error: unknown) => {
    // libp2p quotes the system's error with its stack, and advice about options that nobody has here.
    const reason = /\blisten E[A-Z]+: [^\n]*/.exec(messageOf(error))?.[0] ?? reasonOf(error);
    throw new SortieError("LISTEN_FAILED", `Cannot listen on ${listen.join(", ")}: ${reason}.`, {
      cause: error,
    });
  });
}

// The process of a coordinator that listens: runners that dial by themselves come to its node, and other processes of the same
// coordinator reach them through its socket. joined.ts decides which process that is.
import { rmSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import type { Handlers } from "../protocol/call.ts";
import type { ByteChannel } from "../protocol/channel.ts";
import { SortieError } from "../protocol/errors.ts";
import { loadIdentity } from "../protocol/identity.ts";
import { openInvites } from "../protocol/invite.ts";
import { limits } from "../protocol/limits.ts";
import { socketPathIn } from "../protocol/local-socket.ts";
import { type Node, startNode } from "../protocol/node.ts";
import { openPairingDoor } from "../protocol/pair-door.ts";
import { relay } from "../protocol/relay.ts";
import { serveCall } from "../protocol/serve-call.ts";
import { socketChannel, socketOptions } from "../protocol/socket-channel.ts";
import { successionHandlers } from "../protocol/succession.ts";
import { openTrust, type Trust } from "../protocol/trust.ts";
import { within } from "../protocol/within.ts";
import { ownName } from "./own-name.ts";

export interface Listener {
  /** Each ends in /p2p/PEER. */
  readonly addresses: readonly string[];
  /**
   * A channel for one call of the runner, once it is connected. Rejects with RUNNER_UNREACHABLE where it is not in time: that is
   * later, but after `mostMs` at the latest, while others that were waited for come in.
   */
  open(peer: string, withinMs: number, mostMs?: number): Promise<ByteChannel>;
  close(): Promise<void>;
}

export interface ListenerOptions {
  /** The coordinator's own. */
  readonly folder: string;
  readonly listen: string;
  readonly silenceMs: number;
  /** One line about a pairing. */
  readonly log?: (line: string) => void;
}

const LOOK_EVERY_MS = 20;

/** In its 0700 folder: whoever can open it is this user. */
export const listenerSocket = (folder: string): string => socketPathIn(join(folder, "listen"), "listener.sock");

/** Only for the holder of the folder's lock. Rejects with LISTEN_FAILED. */
export async function startListener({ folder, listen, silenceMs, log }: ListenerOptions): Promise<Listener> {
  const identity = await loadIdentity(folder);
  const trust = openTrust(folder);
  const door = openPairingDoor({
    me: identity.peer,
    name: ownName(),
    invites: openInvites(folder),
    trust,
    joinersDial: true,
    onRefused: (reason, peer, host) => log?.(`refused to pair with ${peer} at ${host}: ${reason}`),
  });
  const handlers = successionHandlers(folder, identity.peer, trust);
  const pairings = new Set<Promise<void>>();
  const node = await startNode({
    identity,
    listen: [listen],
    silenceMs,
    oneConnectionEach: true,
    trusts: (peer) => trust.has(peer),
    pairingOpen: door.pairingOpen,
    // Runners are called, and call nothing but what new keys need.
    onCall: (channel, peer) => serveCall(channel, handlers, { peer, name: trust.get(peer)?.name ?? peer }),
    onPair(channel, peer, host) {
      const pairing = door.onPair(channel, peer, host).finally(() => pairings.delete(pairing));
      pairings.add(pairing);
    },
  });
  const stopWatching = trust.onRemoved((peer) => node.disconnect(peer));
  const open = opener(node, trust);
  const closeSocket = await serveOthers(folder, open).catch(async (error: unknown) => {
    stopWatching();
    await node.stop();
    throw error;
  });
  return {
    addresses: node.addresses(),
    open,
    async close() {
      // Removed first: a process that comes now waits for the lock, and listens itself.
      closeSocket();
      stopWatching();
      // Who has just proven an invite is told so.
      await within(Promise.allSettled(pairings), limits.closeMs);
      await node.stop();
    },
  };
}

function opener(node: Node, trust: Trust): Listener["open"] {
  /** When one that was waited for came last: a fleet that dials in at once takes a while. */
  let cameAt = Number.NEGATIVE_INFINITY;
  const since = performance.now();
  return async (peer, withinMs, mostMs = withinMs) => {
    const askedAt = performance.now();
    // One that is not here though it could have come for so long is most likely away: at most it is between two tries.
    const until = Math.max(since + withinMs, askedAt + Math.min(withinMs, limits.joinMostMs));
    const left = (): number =>
      Math.min(Math.max(until, cameAt + limits.joinMostMs), askedAt + mostMs) - performance.now();
    for (;;) {
      // It may go on with another key meanwhile.
      const current = trust.current(peer)?.peer;
      if (current === undefined) throw new SortieError("NOT_FOUND", "It is not trusted any more.");
      if (!(await node.arrives(current, 0))) {
        if (await node.arrives(current, Math.max(0, Math.min(left(), limits.joinLookMs)))) cameAt = performance.now();
        else if (left() <= 0) throw absent(performance.now() - askedAt);
        else continue;
      }
      try {
        return await node.open(current, [], "/sortie/call/1");
      } catch (error) {
        // That connection was just ending; the runner dials again.
        if (left() <= 0) throw error;
        await delay(LOOK_EVERY_MS);
      }
    }
  };
}

const absent = (waitedMs: number): SortieError =>
  new SortieError(
    "RUNNER_UNREACHABLE",
    `It dials this coordinator by itself, and did not for ${(waitedMs / 1_000).toFixed(1)} s.`,
    { hint: "Is `runner start` running there, and can it reach the address that `coordinator listen` prints?" },
  );

/** Answers the other processes of this coordinator; gives the function that ends that. */
async function serveOthers(folder: string, open: Listener["open"]): Promise<() => void> {
  const handlers: Handlers = {
    async "/joined/open"({ peer, withinMs }, _caller, accept) {
      const channel = await open(peer, withinMs);
      await relay(await accept({}), channel);
    },
  };
  const path = listenerSocket(folder);
  const channels = new Set<ByteChannel>();
  const server = createServer({ ...socketOptions }, (socket) => {
    const channel = socketChannel(socket);
    channels.add(channel);
    socket.once("close", () => channels.delete(channel));
    void serveCall(channel, handlers, { peer: "coordinator", name: "another process of this coordinator" });
  });
  server.maxConnections = limits.callsPerConnection;
  rmSync(path, { force: true });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(path, resolve);
  }).catch((error: Error) => {
    throw new SortieError("LISTEN_FAILED", `Cannot listen in ${folder}: ${error.message}.`, { cause: error });
  });
  return () => {
    rmSync(path, { force: true });
    server.close();
    for (const channel of channels) channel.abort(new SortieError("CONNECTION_LOST", "The process that listens ends."));
  };
}

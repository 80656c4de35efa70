// Runners that this coordinator dials: one node for the process, and keys that change on either side. fleet.ts has the calls.
import type { ByteChannel } from "../protocol/channel.ts";
import type { Node } from "../protocol/node.ts";
import type { Pin, Trust } from "../protocol/trust.ts";

export interface Dialled {
  /** A channel for one call; over a connection that is there, or a new one. Rejects with RUNNER_UNREACHABLE or UNTRUSTED. */
  open(pin: Pin): Promise<ByteChannel>;
  close(): Promise<void>;
}

interface Started {
  readonly node: Node;
  readonly isCurrent: () => boolean;
  close(): Promise<void>;
}

/** Starts its node with the first runner that is dialled, and loads what it needs for that then. */
export function openDialled(folder: string, trust: Trust, silenceMs: number): Dialled {
  let started: Promise<Started> | undefined;
  /** Being told of this side's new key: once for each, however many calls wait. */
  const introductions = new Map<string, Promise<unknown>>();

  async function start(): Promise<Started> {
    const [{ startNode }, { identityStamp, loadIdentity }] = await Promise.all([
      import("../protocol/node.ts"),
      import("../protocol/identity.ts"),
    ]);
    // Before the key that is used: one that is replaced in between is noticed.
    const stamp = identityStamp(folder);
    const identity = await loadIdentity(folder);
    const node = await startNode({
      identity,
      listen: [],
      silenceMs,
      trusts: (peer) => trust.has(peer),
      pairingOpen: () => false,
    });
    const stopWatching = trust.onRemoved((peer) => node.disconnect(peer));
    return {
      node,
      isCurrent: () => stamp === "" || identityStamp(folder) === stamp,
      async close() {
        stopWatching();
        await node.stop();
      },
    };
  }

  /** Another one once this side has another key: its runners know that one, and calls that run go on over it. */
  async function currentNode(): Promise<Node> {
    const one = (started ??= start());
    const { node, isCurrent, close } = await one;
    if (isCurrent()) return node;
    if (started === one) {
      started = start();
      await close();
    }
    return currentNode();
  }

  return {
    async open(pin) {
      const node = await currentNode();
      const { introduce, openFollowing, waitingPins } = await import("../protocol/succession.ts");
      if (waitingPins(folder, trust).some(({ peer }) => peer === pin.peer)) {
        const introduction = introductions.get(pin.peer) ?? introduce(folder, trust, pin);
        introductions.set(pin.peer, introduction);
        await introduction.finally(() => introductions.delete(pin.peer));
      }
      return openFollowing(node, trust, pin);
    },
    async close() {
      await (await started)?.close();
    },
  };
}

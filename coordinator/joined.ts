// Runners that dial by themselves, for the fleet of one process. Commands come and go, and only one process can have the
// address: the first that wants such a runner takes it, others go through that one, and when it ends the next one takes over.
// To a call that is a lost connection like any other: its attempt goes on where it was.
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";
import type { ByteChannel } from "../protocol/channel.ts";
import { asSortieError, SortieError } from "../protocol/errors.ts";
import { limits } from "../protocol/limits.ts";
import { dialSocket } from "../protocol/local-socket.ts";
import { folderOwner, lockFolder } from "../protocol/lock.ts";
import { callRaw } from "../protocol/make-call.ts";
import { openTrust } from "../protocol/trust.ts";
import { listenAddressIn } from "./listen-address.ts";
import { type Listener, listenerSocket, startListener } from "./listener.ts";

export interface Joined {
  /**
   * A channel for one call; waits a little for the runner to dial in. Rejects with RUNNER_UNREACHABLE, with NOT_FOUND, and
   * with LISTEN_FAILED where the address cannot be had.
   */
  open(peer: string): Promise<ByteChannel>;
  /** Listens, unless another process of this coordinator does, and tells where it is, and whether it is this process. */
  listen(): Promise<{ readonly addresses: readonly string[]; readonly here: boolean }>;
  close(): Promise<void>;
}

export interface JoinedOptions {
  /** The coordinator's own. */
  readonly folder: string;
  /** Another address than the one that is remembered. */
  readonly listen?: string | undefined;
  readonly silenceMs?: number | undefined;
  readonly log?: (line: string) => void;
}

/** Every interface: who gets in is decided by keys, not by addresses. */
const DEFAULT_LISTEN = "/ip4/0.0.0.0/tcp/7701";
const LOOK_EVERY_MS = 20;

/** Listens only once it is asked for something. */
export function openJoined({ folder, listen: wanted, silenceMs = limits.silenceMs, log }: JoinedOptions): Joined {
  const remembered = listenAddressIn(folder);
  let taking: Promise<Listener | undefined> | undefined;
  let unlock = (): void => {};

  /** This process's own listener; undefined where another process has the address. */
  function own(): Promise<Listener | undefined> {
    taking ??= take().then(
      (listener) => {
        if (!listener) taking = undefined;
        return listener;
      },
      (error: unknown) => {
        taking = undefined;
        throw error;
      },
    );
    return taking;
  }

  async function take(): Promise<Listener | undefined> {
    try {
      unlock = lockFolder(join(folder, "listen"));
    } catch (error) {
      if (asSortieError(error).code === "STATE_LOCKED") return undefined;
      throw error;
    }
    try {
      const listen = wanted ?? remembered.read()?.listen ?? DEFAULT_LISTEN;
      const listener = await startListener({ folder, listen, silenceMs, ...(log ? { log } : {}) });
      const bound = [...listener.addresses];
      const now = { listen: withPort(listen, bound), bound };
      const before = remembered.read();
      if (!isDeepStrictEqual(now, before)) remembered.change(() => now);
      if (before && before.listen !== now.listen) tellMoved(before.listen);
      return listener;
    } catch (error) {
      unlock();
      throw error;
    }
  }

  function tellMoved(from: string): void {
    const runners = openTrust(folder)
      .list()
      .filter(({ addresses }) => addresses.length === 0);
    if (runners.length === 0) return;
    const names = runners.map(({ name }) => name).join(", ");
    log?.(
      `it listened on ${from} before; who joined then may dial that alone, and needs another invite: ${names.slice(0, 200)}`,
    );
  }

  /** Through the process that listens; `undefined` where that has just ended, or is not there yet. */
  async function throughOther(peer: string, withinMs: number): Promise<ByteChannel | undefined> {
    const channel = await dialSocket(listenerSocket(folder));
    if (!channel || channel === "busy") return undefined;
    const late = setTimeout(() => channel.abort(silent()), withinMs + limits.joinAnswerMs);
    try {
      return await callRaw(channel, "/joined/open", { peer, withinMs });
    } catch (error) {
      if (asSortieError(error).code === "CONNECTION_LOST") return undefined;
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  const silent = (): SortieError =>
    new SortieError("RUNNER_UNREACHABLE", "The process of this coordinator that listens does not answer.", {
      hint: `It is process ${folderOwner(join(folder, "listen"))}. Was it stopped by Ctrl-Z? Let it go on, or end it.`,
    });

  return {
    async open(peer) {
      const givesUp = performance.now() + limits.listenTurnMs;
      for (;;) {
        const listener = await own();
        const channel = listener
          ? await listener.open(peer, limits.joinWaitMs, limits.joinLongestMs)
          : await throughOther(peer, limits.joinWaitMs);
        if (channel) return channel;
        if (performance.now() > givesUp) throw silent();
        await delay(LOOK_EVERY_MS);
      }
    },
    async listen() {
      const givesUp = performance.now() + limits.listenTurnMs;
      for (;;) {
        const listener = await own();
        if (listener) return { addresses: listener.addresses, here: true };
        const there = await dialSocket(listenerSocket(folder));
        if (there && there !== "busy") {
          there.abort(new SortieError("CONNECTION_LOST", "Only looked."));
          const known = remembered.read();
          if (known && (wanted === undefined || wanted === known.listen))
            return { addresses: known.bound, here: false };
          if (known)
            throw new SortieError("USAGE", `Another process of this coordinator listens on ${known.listen} now.`, {
              hint: "End it first, or leave out --listen.",
            });
        }
        if (performance.now() > givesUp)
          throw new SortieError("LISTEN_FAILED", "Another process of this coordinator has the address, and is silent.");
        await delay(LOOK_EVERY_MS);
      }
    },
    async close() {
      const listener = await taking?.catch(() => undefined);
      if (!listener) return;
      await listener.close();
      unlock();
    },
  };
}

/** Port 0 as the port that it came to: runners dial that one from now on. */
function withPort(listen: string, [first = ""]: readonly string[]): string {
  const port = /\/tcp\/(\d+)/.exec(first)?.[1];
  return port === undefined ? listen : listen.replace(/\/tcp\/0(?=\/|$)/, `/tcp/${port}`);
}

// Whom a side trusts: pins, made by pairing, and tombstones of those that were removed. One file a side; a running
// process sees what another one changes.
import { watch } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { SortieError } from "./errors.ts";
import { privateFolder } from "./home.ts";
import { RunnerName } from "./messages.ts";
import { stateFile } from "./state-file.ts";

export const PeerText = v.pipe(v.string(), v.regex(/^[1-9A-HJ-NP-Za-km-z]{40,70}$/, "a peer ID"));
const Address = v.pipe(v.string(), v.startsWith("/"), v.maxLength(300));

export const Pin = v.strictObject({
  peer: PeerText,
  /** Unique on this side; what the peer calls itself, with a number behind it where that was taken. */
  name: RunnerName,
  /** Where it can be dialled; none for a peer that only dials. */
  addresses: v.pipe(v.array(Address), v.maxLength(32)),
  /** Milliseconds since the epoch. */
  pinnedAt: v.number(),
});
export type Pin = v.InferOutput<typeof Pin>;

const Content = v.strictObject({
  pins: v.array(Pin),
  removed: v.array(v.strictObject({ peer: PeerText, name: RunnerName, removedAt: v.number() })),
});

/** Tombstones kept, the oldest dropped first. */
const TOMBSTONES = 1_000;

export interface Trust {
  has(peer: string): boolean;
  /** Whether the peer was trusted once, and removed since. */
  wasRemoved(peer: string): boolean;
  get(peer: string): Pin | undefined;
  list(): readonly Pin[];
  /** By name, or by an unambiguous prefix of the peer ID (or of its end, which is what is shown). */
  find(text: string): Pin;
  /** Pins the peer, under the name it wants or one like it; a peer pinned before is updated. Gives the pin. */
  pin(peer: string, name: string, addresses: readonly string[]): Pin;
  remove(peer: string): void;
  rename(peer: string, name: string): void;
  /** Calls the listener with each peer that another process, or this one, removed. Gives the function that stops it. */
  onRemoved(listener: (peer: string) => void): () => void;
}

export function openTrust(folder: string): Trust {
  const path = join(privateFolder(folder), "trust.json");
  const file = stateFile(path, Content, { pins: [], removed: [] });
  const list = (): readonly Pin[] => file.read().pins;
  const get = (peer: string): Pin | undefined => list().find((pin) => pin.peer === peer);

  return {
    has: (peer) => get(peer) !== undefined,
    wasRemoved: (peer) => file.read().removed.some((one) => one.peer === peer),
    get,
    list,
    find(text) {
      // The ID first: a name is what a peer chose, and might be another one's ID.
      const named = get(text) ?? list().find((pin) => pin.name === text);
      if (named) return named;
      const fitting =
        text.length < 4 ? [] : list().filter((pin) => pin.peer.startsWith(text) || pin.peer.endsWith(text));
      if (fitting.length === 1 && fitting[0]) return fitting[0];
      if (fitting.length > 1)
        throw new SortieError("AMBIGUOUS", `${text} fits ${fitting.map((pin) => pin.name).join(", ")}.`);
      const names = list().map((pin) => pin.name);
      throw new SortieError(
        "NOT_FOUND",
        `No peer is called ${JSON.stringify(text)}; known: ${names.join(", ") || "none"}.`,
      );
    },
    pin(peer, name, addresses) {
      const pin = { peer, name: "", addresses: [...addresses], pinnedAt: Date.now() };
      file.change(({ pins, removed }) => {
        const others = pins.filter((one) => one.peer !== peer);
        pin.name = freeName(v.is(RunnerName, name) ? name : "peer", new Set(others.map((one) => one.name)));
        return { pins: [...others, pin], removed: removed.filter((one) => one.peer !== peer) };
      });
      return pin;
    },
    remove(peer) {
      file.change(({ pins, removed }) => {
        const gone = pins
          .filter((pin) => pin.peer === peer)
          .map((pin) => ({ peer, name: pin.name, removedAt: Date.now() }));
        return { pins: pins.filter((pin) => pin.peer !== peer), removed: [...removed, ...gone].slice(-TOMBSTONES) };
      });
    },
    rename(peer, name) {
      if (!v.is(RunnerName, name))
        throw new SortieError("USAGE", `${JSON.stringify(name)} is not a name: letters, digits and _.- (at most 63).`);
      file.change(({ pins, removed }) => {
        if (pins.some((pin) => pin.name === name && pin.peer !== peer))
          throw new SortieError("USAGE", `Another peer is called ${name} already.`);
        return { pins: pins.map((pin) => (pin.peer === peer ? { ...pin, name } : pin)), removed };
      });
    },
    onRemoved(listener) {
      let before = new Set(list().map((pin) => pin.peer));
      // The folder is watched, not the file: a file that is replaced would be watched no more.
      const watcher = watch(folder, { persistent: false }, () => {
        let now: Set<string>;
        try {
          now = new Set(list().map((pin) => pin.peer));
        } catch {
          // Damaged: nobody is trusted by it, and the next call says so.
          now = new Set();
        }
        for (const peer of before) if (!now.has(peer)) listener(peer);
        before = now;
      });
      return () => watcher.close();
    },
  };
}

function freeName(wanted: string, taken: ReadonlySet<string>): string {
  if (!taken.has(wanted)) return wanted;
  for (let number = 2; ; number++) {
    const name = `${wanted.slice(0, 56)}-${number}`;
    if (!taken.has(name)) return name;
  }
}

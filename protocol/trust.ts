// Whom a side trusts: pins, made by pairing, and tombstones of those that were removed. One file a side; a running
// process sees what another one changes.
import { join } from "node:path";
import * as v from "valibot";
import { SortieError } from "./errors.ts";
import { privateFolder } from "./home.ts";
import { limits } from "./limits.ts";
import { RunnerName } from "./messages.ts";
import { stateFile } from "./state-file.ts";
import { watchFolder } from "./watch-folder.ts";

export const PeerText = v.pipe(v.string(), v.regex(/^[1-9A-HJ-NP-Za-km-z]{40,70}$/, "a peer ID"));
/** A multiaddr. None of its characters means anything in a URL, in a shell, or to a terminal. */
export const Address = v.pipe(v.string(), v.maxLength(300), v.regex(/^(\/[A-Za-z0-9._:-]+)+$/, "an address"));

/** The part of a runner's policy that is for several peers. */
export const GroupName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "a group's name"));

export const Pin = v.strictObject({
  peer: PeerText,
  /** Unique on this side; what the peer calls itself, with a number behind it where that was taken. */
  name: RunnerName,
  /** Where it can be dialled; none for a peer that only dials. */
  addresses: v.pipe(v.array(Address), v.maxLength(32)),
  /** Milliseconds since the epoch. */
  pinnedAt: v.number(),
  /** The group it came with, by its invite: whose grants it has. */
  group: v.optional(GroupName),
  /** The identities it had before, the first one first: that one owns its jobs, whatever key it has now. */
  formerly: v.optional(v.pipe(v.array(PeerText), v.maxLength(limits.successions))),
});
export type Pin = v.InferOutput<typeof Pin>;

/** By which identity a peer's jobs are known. */
export const ownerOf = ({ peer, formerly }: Pick<Pin, "peer" | "formerly">): string => formerly?.[0] ?? peer;

const Content = v.strictObject({
  pins: v.array(Pin),
  removed: v.array(
    v.strictObject({ peer: PeerText, name: RunnerName, removedAt: v.number(), owner: v.optional(PeerText) }),
  ),
});

/** Tombstones kept, the oldest dropped first: they only have to outlive the invites that were used before them. */
const TOMBSTONES = 1_000;

/** Peer IDs of Ed25519 keys begin like this. A peer that calls itself so would be taken for the one it names. */
const LIKE_AN_ID = /^12D3Koo/;

export interface Trust {
  has(peer: string): boolean;
  get(peer: string): Pin | undefined;
  list(): readonly Pin[];
  /** The peer by the identity that it has, or that it had. */
  current(peer: string): Pin | undefined;
  /** Peers that were removed, and not paired anew since; by each identity they had. */
  removed(): readonly { readonly peer: string; readonly owner: string }[];
  /**
   * By peer ID, by name, or by a prefix of the peer ID of four or more characters (or by its end, which is what is
   * shown). Throws NOT_FOUND, and AMBIGUOUS also where one peer's name is a piece of another one's ID.
   */
  find(text: string): Pin;
  /** Throws USAGE unless the peer may be given this name. */
  checkName(name: string, peer: string): void;
  /**
   * Pins the peer, under the name it wants or one like it. One that is pinned already keeps the name it has here, and
   * its group and its addresses where none are given; no addresses at all are those of one that dials. Gives the pin.
   */
  pin(peer: string, name: string, addresses?: readonly string[], group?: string): Pin;
  remove(peer: string): void;
  /** The peer goes on under another identity: its name, group and jobs are what they were. Gives its pin. */
  succeed(peer: string, next: string): Pin;
  /** Throws USAGE for a name that is none, or taken; NOT_FOUND for a peer that is not pinned. */
  rename(peer: string, name: string): void;
  /**
   * Calls the listener with each peer that another process, or this one, removed, within about a second; a peer that goes
   * on under another identity has a successor. A damaged file removes nobody: it is looked at again when it is whole.
   * Gives the function that stops it.
   */
  onRemoved(listener: (peer: string, was: { readonly owner: string; readonly successor?: Pin }) => void): () => void;
}

export function openTrust(folder: string): Trust {
  const path = join(privateFolder(folder), "trust.json");
  const file = stateFile(path, Content, { pins: [], removed: [] });
  const list = (): readonly Pin[] => file.read().pins;
  const get = (peer: string): Pin | undefined => list().find((pin) => pin.peer === peer);

  return {
    has: (peer) => get(peer) !== undefined,
    get,
    list,
    current: (peer) => get(peer) ?? list().find((pin) => pin.formerly?.includes(peer)),
    removed: () => file.read().removed.map(({ peer, owner = peer }) => ({ peer, owner })),
    find: (text) => find(list(), text),
    checkName: (name, peer) => checkName(list(), name, peer),
    pin(peer, name, addresses, group) {
      const checked = v.safeParse(v.pick(Pin, ["peer", "addresses"]), { peer, addresses: [...(addresses ?? [])] });
      if (!checked.success) throw new SortieError("PROTOCOL", "The peer's ID or one of its addresses is none.");
      const wanted = v.is(RunnerName, name) && !LIKE_AN_ID.test(name) ? name : "peer";
      const pin: Pin = { ...checked.output, name: wanted, pinnedAt: Date.now() };
      file.change(({ pins, removed }) => {
        const known = pins.find((one) => one.peer === peer);
        const others = pins.filter((one) => one.peer !== peer);
        pin.name = known?.name ?? freeName(wanted, new Set(others.map((one) => one.name)));
        if (addresses === undefined && known) pin.addresses = known.addresses;
        const now = group ?? known?.group;
        if (now !== undefined) pin.group = now;
        if (known?.formerly) pin.formerly = known.formerly;
        return { pins: [...others, pin], removed: removed.filter((one) => one.peer !== peer) };
      });
      return pin;
    },
    remove(peer) {
      file.change(({ pins, removed }) => {
        // One for each identity it had: an invite that it used under an earlier one must not bring it back.
        const gone = pins
          .filter((pin) => pin.peer === peer)
          .flatMap((pin) =>
            [...(pin.formerly ?? []), peer].map((identity) => ({
              peer: identity,
              name: pin.name,
              removedAt: Date.now(),
              ...(pin.formerly ? { owner: ownerOf(pin) } : {}),
            })),
          );
        return { pins: pins.filter((pin) => pin.peer !== peer), removed: [...removed, ...gone].slice(-TOMBSTONES) };
      });
    },
    succeed(peer, next) {
      let successor: Pin | undefined;
      file.change(({ pins, removed }) => {
        const pin = pins.find((one) => one.peer === peer);
        if (!pin) throw notFound(peer, pins);
        if (pins.some((one) => one.peer === next || one.formerly?.includes(next)))
          throw new SortieError("UNTRUSTED", "The identity that it goes on with is somebody's already.");
        if ((pin.formerly?.length ?? 0) >= limits.successions)
          throw new SortieError("UNTRUSTED", "It has had too many identities.", { hint: "Pair anew." });
        const addresses = pin.addresses.map((address) => address.replace(`/p2p/${peer}`, `/p2p/${next}`));
        successor = { ...pin, peer: next, addresses, formerly: [...(pin.formerly ?? []), peer] };
        return { pins: pins.map((one) => (one === pin ? (successor as Pin) : one)), removed };
      });
      return successor as unknown as Pin;
    },
    rename(peer, name) {
      file.change(({ pins, removed }) => {
        checkName(pins, name, peer);
        if (!pins.some((pin) => pin.peer === peer)) throw notFound(peer, pins);
        return { pins: pins.map((pin) => (pin.peer === peer ? { ...pin, name } : pin)), removed };
      });
    },
    onRemoved(listener) {
      let before = list();
      return watchFolder(folder, () => {
        let now: readonly Pin[];
        try {
          now = list();
        } catch {
          // Someone edits it by hand: new connections are refused meanwhile, but nobody has said whom to end.
          return;
        }
        const gone = before.filter(({ peer }) => !now.some((pin) => pin.peer === peer));
        before = now;
        for (const pin of gone) {
          const successor = now.find(({ formerly }) => formerly?.includes(pin.peer));
          listener(pin.peer, { owner: ownerOf(pin), ...(successor ? { successor } : {}) });
        }
      });
    },
  };
}

function checkName(pins: readonly Pin[], name: string, peer: string): void {
  if (!v.is(RunnerName, name))
    throw new SortieError("USAGE", `${JSON.stringify(name)} is not a name: letters, digits and _.- (at most 63).`);
  if (LIKE_AN_ID.test(name)) throw new SortieError("USAGE", `${name} looks like a peer ID, not like a name.`);
  if (pins.some((pin) => pin.name === name && pin.peer !== peer))
    throw new SortieError("USAGE", `Another peer is called ${name} already.`, { hint: "Choose another name." });
}

function find(pins: readonly Pin[], text: string): Pin {
  const exact = pins.find((pin) => pin.peer === text);
  if (exact) return exact;
  const partOf = (peer: string): boolean => text.length >= 4 && (peer.startsWith(text) || peer.endsWith(text));
  // A name is the peer's own choice: one that is a piece of somebody else's ID must not win over him.
  const fitting = pins.filter((pin) => pin.name === text || partOf(pin.peer));
  if (fitting.length === 1 && fitting[0]) return fitting[0];
  if (fitting.length > 1)
    throw new SortieError("AMBIGUOUS", `${text} fits ${fitting.map((pin) => pin.name).join(", ")}.`);
  throw notFound(text, pins);
}

function notFound(text: string, pins: readonly Pin[]): SortieError {
  const names = pins.map((pin) => pin.name).join(", ") || "none";
  return new SortieError("NOT_FOUND", `No peer is called ${JSON.stringify(text)}; known: ${names}.`, {
    hint: "`trust list` shows names and peer IDs.",
  });
}

function freeName(wanted: string, taken: ReadonlySet<string>): string {
  if (!taken.has(wanted)) return wanted;
  for (let number = 2; ; number++) {
    const name = `${wanted.slice(0, 56)}-${number}`;
    if (!taken.has(name)) return name;
  }
}

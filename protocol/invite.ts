// Invites: one-time URLs that make two peers trust each other, and the issuer's record of those that are alive.
// `runner invite` is another process than the runner that answers, so the record is a file that both read.
import { hkdfSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import { multiaddr } from "@multiformats/multiaddr";
import * as v from "valibot";
import { type Codes, openCodes } from "./code.ts";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { stateFile } from "./state-file.ts";
import { Address, GroupName, PeerText } from "./trust.ts";

/** `sortie:/ip4/…/tcp/…/p2p/PEER?token=TOKEN[&addr=MULTIADDR…]` */
export interface Invite {
  /** Who issued it: the one identity that may be reached. */
  readonly peer: string;
  /** Each ends in /p2p/PEER. */
  readonly addresses: readonly string[];
  readonly id: string;
  /** Proves that one holds the invite; never sent. */
  readonly key: Buffer;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

/** What a token holds, in this order. The count of addresses tells a URL that a shell has cut at its first `&`. */
const ID_BYTES = 8;
const SECRET_BYTES = 16;
const EXPIRY_BYTES = 6;
const COUNT_BYTES = 1;
const TOKEN_BYTES = ID_BYTES + SECRET_BYTES + EXPIRY_BYTES + COUNT_BYTES;
const MOST_ADDRESSES = 16;
const MOST_CHARACTERS = 8_192;

const Pending = v.strictObject({
  id: v.string(),
  /** Made of the secret by a one-way function: the file does not hold the invite. */
  key: v.string(),
  expiresAt: v.number(),
  /** The peer that used it; the same one may ask again, where the answer was lost. */
  usedBy: v.nullable(PeerText),
  group: v.optional(GroupName),
});
type Pending = v.InferOutput<typeof Pending>;

export interface Invites {
  /**
   * Makes an invite that lives for `ttlMs`, and gives its URL; whoever uses it belongs to the group. Of more than 16
   * addresses the first are taken. Throws USAGE for an address that is none, or another peer's, and where 1,000 invites
   * are alive.
   */
  issue(peer: string, addresses: readonly string[], ttlMs?: number, group?: string): string;
  /** The short code, of which one is alive at a time. */
  readonly codes: Codes;
  /** Whether an invite or a code lives that the peer may use: unused, or used by that very peer. Only then may a stranger connect. */
  openTo(peer: string): boolean;
  /** The key of a living invite that this peer may use; or why not, for the issuer's eyes only. */
  keyFor(
    id: string,
    peer: string,
  ):
    | { readonly key: Buffer; readonly used: boolean; readonly group?: string | undefined }
    | { readonly refused: string };
  /** Marks it used by the peer, on disk. False where another was faster. */
  use(id: string, peer: string): boolean;
  /** The peer that used it; `undefined` while nobody has. */
  usedBy(id: string): string | undefined;
  /** Ends an invite before its time. */
  withdraw(id: string): void;
}

export function openInvites(folder: string, now: () => number = Date.now): Invites {
  const file = stateFile(join(folder, "invites.json"), v.array(Pending), []);
  const alive = (invite: Pending): boolean => invite.expiresAt > now();
  const free = (invite: Pending, peer: string): boolean => invite.usedBy === null || invite.usedBy === peer;
  const codes = openCodes(folder, now);
  return {
    codes,
    issue(peer, addresses, ttlMs = limits.inviteTtlMs, group) {
      const pinned = addresses.slice(0, MOST_ADDRESSES).map((address) => pinnedTo(address, peer));
      const [first, ...others] = pinned;
      if (first === undefined)
        throw new SortieError("USAGE", "An invite needs an address that the other side can dial.");
      const expiresAt = now() + ttlMs;
      const id = randomBytes(ID_BYTES);
      const secret = randomBytes(SECRET_BYTES);
      const rest = Buffer.alloc(EXPIRY_BYTES + COUNT_BYTES);
      rest.writeUIntBE(expiresAt, 0, EXPIRY_BYTES);
      rest.writeUInt8(pinned.length, EXPIRY_BYTES);
      const key = keyOf(id, secret).toString("base64");
      const invite = {
        id: id.toString("hex"),
        key,
        expiresAt,
        usedBy: null,
        ...(group === undefined ? {} : { group }),
      };
      file.change((all) => {
        const living = all.filter(alive);
        if (living.length >= limits.invitesAlive)
          throw new SortieError("USAGE", `${living.length} invites are alive already.`, {
            hint: "Wait until some of them are over.",
          });
        return [...living, invite];
      });
      const token = Buffer.concat([id, secret, rest]).toString("base64url");
      return `sortie:${first}?token=${token}${others.map((address) => `&addr=${address}`).join("")}`;
    },
    openTo: (peer) => file.read().some((invite) => alive(invite) && free(invite, peer)) || codes.openTo(peer),
    keyFor(id, peer) {
      const invite = file.read().find((one) => one.id === id);
      if (!invite) return { refused: "an invite that was never issued, or is long over" };
      if (!alive(invite)) return { refused: "an invite that is over" };
      if (!free(invite, peer)) return { refused: "an invite that another peer used" };
      return { key: Buffer.from(invite.key, "base64"), used: invite.usedBy !== null, group: invite.group };
    },
    use(id, peer) {
      let used = false;
      file.change((all) =>
        all.filter(alive).map((invite) => {
          if (invite.id !== id || !free(invite, peer)) return invite;
          used = true;
          return { ...invite, usedBy: peer };
        }),
      );
      return used;
    },
    usedBy: (id) => file.read().find((invite) => invite.id === id)?.usedBy ?? undefined,
    withdraw(id) {
      file.change((all) => all.filter((invite) => invite.id !== id));
    },
  };
}

/** Reads an invite URL. Throws INVITE_INVALID saying what is wrong with it, and never a piece of its token. */
export function parseInvite(url: string, now: number = Date.now()): Invite {
  const text = url.trim();
  if (text.length > MOST_CHARACTERS) throw wrong("is far too long");
  if (!text.startsWith("sortie:/")) throw wrong("does not begin with sortie:/");
  const [first = "", query, more] = text.slice("sortie:".length).split("?");
  if (query === undefined) throw wrong("has no token: was the URL cut off?");
  const parameters = new URLSearchParams(query);
  const [written = "", second] = parameters.getAll("token");
  const token = Buffer.from(written, "base64url");
  if (token.length < TOKEN_BYTES) throw wrong("has no whole token: was the URL cut off?");
  // Written anew, since the decoder leaves out whatever does not belong into a token.
  if (token.length !== TOKEN_BYTES || token.toString("base64url") !== written) throw wrong("has a token that is none");
  const known = [...parameters.keys()].every((name) => name === "token" || name === "addr");
  if (!known || second !== undefined || more !== undefined) throw wrong("has a part that does not belong there");

  const addresses = [first, ...parameters.getAll("addr")];
  const count = token.readUInt8(TOKEN_BYTES - COUNT_BYTES);
  if (addresses.length > MOST_ADDRESSES) throw wrong(`has more than ${MOST_ADDRESSES} addresses`);
  const peers = addresses.map((address) => {
    if (!isAddress(address)) throw wrong("has an address that is none");
    const peer = peerOf(address);
    if (peer === undefined) throw wrong("has an address without the peer's ID at its end");
    return peer;
  });
  const [peer = ""] = peers;
  if (peers.some((one) => one !== peer)) throw wrong("names two different peers");
  if (addresses.length !== count)
    throw wrong(`has ${addresses.length} of its ${count} addresses: a shell cuts a URL at & unless it is in quotes`);

  const expiresAt = token.readUIntBE(ID_BYTES + SECRET_BYTES, EXPIRY_BYTES);
  if (expiresAt <= now) {
    const minutes = Math.ceil((now - expiresAt) / 60_000);
    throw wrong(`is over, by the clock here for ${minutes} min`, "Make a new one where this one was made.");
  }
  const id = token.subarray(0, ID_BYTES);
  const key = keyOf(id, token.subarray(ID_BYTES, ID_BYTES + SECRET_BYTES));
  return { peer, addresses, id: id.toString("hex"), key, expiresAt };
}

/** An address that a person types: with the peer's ID at its end, or without. Throws USAGE. */
export function parseAddress(text: string): { readonly address: string; readonly peer: string | undefined } {
  const address = text.trim();
  const named = isAddress(address) && /\/p2p\//.test(address);
  const peer = named ? peerOf(address) : undefined;
  if (isAddress(address) && named === (peer !== undefined)) return { address, peer };
  throw new SortieError("USAGE", `${JSON.stringify(address.slice(0, 300))} is not an address.`, {
    hint: "An address looks like /ip4/192.0.2.1/tcp/7700.",
  });
}

function wrong(what: string, hint?: string): SortieError {
  return new SortieError("INVITE_INVALID", `The invite ${what}.`, hint === undefined ? {} : { hint });
}

function keyOf(id: Buffer, secret: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, id, "sortie invite 1", 32));
}

/** Whether it can be dialled, at least by its form. */
function isAddress(address: string): boolean {
  try {
    return v.is(Address, address) && multiaddr(address).getComponents()[0]?.name !== "p2p";
  } catch {
    return false;
  }
}

/** The peer that the address is pinned to; `undefined` where it is not by its end alone. */
function peerOf(address: string): string | undefined {
  const components = multiaddr(address).getComponents();
  const last = components.at(-1);
  const named = components.filter((one) => one.name === "p2p").length;
  return last?.name === "p2p" && named === 1 && v.is(PeerText, last.value) ? last.value : undefined;
}

function pinnedTo(address: string, peer: string): string {
  const named =
    isAddress(address) &&
    multiaddr(address)
      .getComponents()
      .some((one) => one.name === "p2p");
  const pinned = named ? address : `${address}/p2p/${peer}`;
  if (isAddress(pinned) && peerOf(pinned) === peer) return pinned;
  throw new SortieError("USAGE", `${JSON.stringify(address)} is not an address of this peer.`, {
    hint: "An address looks like /ip4/192.0.2.1/tcp/7700.",
  });
}

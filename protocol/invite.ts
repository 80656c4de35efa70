// Invites: one-time URLs that make two peers trust each other, and the issuer's record of those that are alive.
import { createHash, hkdfSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import { multiaddr } from "@multiformats/multiaddr";
import * as v from "valibot";
import { SortieError } from "./errors.ts";
import { limits } from "./limits.ts";
import { stateFile } from "./state-file.ts";
import { PeerText } from "./trust.ts";

/** `sortie:/ip4/…/tcp/…/p2p/PEER?token=TOKEN[&addr=MULTIADDR…]` */
export interface Invite {
  /** Who issued it: the one identity that may be reached. */
  readonly peer: string;
  readonly addresses: readonly string[];
  readonly id: string;
  /** Proves that one holds the invite; never sent. */
  readonly key: Buffer;
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
}

const ID_BYTES = 8;
const SECRET_BYTES = 16;
const EXPIRY_BYTES = 6;
const TOKEN_BYTES = ID_BYTES + SECRET_BYTES + EXPIRY_BYTES;
const MOST_ADDRESSES = 16;
const MOST_CHARACTERS = 8_192;

const Record = v.strictObject({
  id: v.string(),
  /** Made of the secret by a one-way function: the file does not hold the invite. */
  key: v.string(),
  expiresAt: v.number(),
  /** The peer that used it; the same one may ask again, where the answer was lost. */
  usedBy: v.nullable(PeerText),
});
type Record = v.InferOutput<typeof Record>;

export interface Invites {
  /** Makes an invite that lives for `ttlMs`, and gives its URL. */
  issue(peer: string, addresses: readonly string[], ttlMs?: number): string;
  /** Whether one lives that was not used: only then may a stranger connect. */
  anyAlive(): boolean;
  /** The key of a living invite that this peer may use; or why not, for the issuer's eyes only. */
  keyFor(id: string, peer: string): { readonly key: Buffer; readonly used: boolean } | { readonly refused: string };
  /** Marks it used by the peer, on disk. False where another was faster. */
  use(id: string, peer: string): boolean;
}

export function openInvites(folder: string, now: () => number = Date.now): Invites {
  const file = stateFile(join(folder, "invites.json"), v.array(Record), []);
  const alive = (record: Record): boolean => record.expiresAt > now();
  return {
    issue(peer, addresses, ttlMs = limits.inviteTtlMs) {
      const [first, ...others] = addresses;
      if (first === undefined)
        throw new SortieError("USAGE", "An invite needs an address that the other side can dial.");
      const expiresAt = now() + ttlMs;
      const id = randomBytes(ID_BYTES);
      const secret = randomBytes(SECRET_BYTES);
      const expiry = Buffer.alloc(EXPIRY_BYTES);
      expiry.writeUIntBE(expiresAt, 0, EXPIRY_BYTES);
      const record = { id: id.toString("hex"), key: keyOf(id, secret).toString("base64"), expiresAt, usedBy: null };
      file.change((records) => [...records.filter(alive), record]);
      const token = Buffer.concat([id, secret, expiry]).toString("base64url");
      const more = others.map((address) => `&addr=${pinnedTo(address, peer)}`).join("");
      return `sortie:${pinnedTo(first, peer)}?token=${token}${more}`;
    },
    anyAlive: () => file.read().some(alive),
    keyFor(id, peer) {
      const record = file.read().find((one) => one.id === id);
      if (!record) return { refused: "an invite that was never issued, or is long over" };
      if (!alive(record)) return { refused: "an invite that is over" };
      if (record.usedBy !== null && record.usedBy !== peer) return { refused: "an invite that another peer used" };
      return { key: Buffer.from(record.key, "base64"), used: record.usedBy !== null };
    },
    use(id, peer) {
      let used = false;
      file.change((records) =>
        records.map((record) => {
          if (record.id !== id || !alive(record) || (record.usedBy !== null && record.usedBy !== peer)) return record;
          used = true;
          return { ...record, usedBy: peer };
        }),
      );
      return used;
    },
  };
}

/** Reads an invite URL. Throws INVITE_INVALID saying what is wrong with it. */
export function parseInvite(url: string, now: number = Date.now()): Invite {
  const wrong = (what: string): SortieError => new SortieError("INVITE_INVALID", `The invite ${what}.`);
  const text = url.trim();
  if (text.length > MOST_CHARACTERS) throw wrong("is far too long");
  if (!text.startsWith("sortie:/")) throw wrong("does not begin with sortie:/");
  const [first = "", query] = text.slice("sortie:".length).split("?");
  if (query === undefined) throw wrong("has no token: was the URL cut off?");
  const parameters = new URLSearchParams(query);
  const token = Buffer.from(parameters.get("token") ?? "", "base64url");
  if (token.length !== TOKEN_BYTES) throw wrong("has no whole token: was the URL cut off?");
  const unknown = [...parameters.keys()].find((name) => name !== "token" && name !== "addr");
  if (unknown !== undefined || parameters.getAll("token").length > 1)
    throw wrong("has a part that does not belong there");
  const addresses = [first, ...parameters.getAll("addr")];
  if (addresses.length > MOST_ADDRESSES) throw wrong(`has more than ${MOST_ADDRESSES} addresses`);
  const peers = addresses.map((address) => peerOf(address, wrong));
  const [peer = ""] = peers;
  if (peers.some((one) => one !== peer)) throw wrong("names two different peers");
  const expiresAt = token.readUIntBE(ID_BYTES + SECRET_BYTES, EXPIRY_BYTES);
  if (expiresAt <= now) throw wrong("is over: invites live for ten minutes");
  const id = token.subarray(0, ID_BYTES);
  return {
    peer,
    addresses,
    id: id.toString("hex"),
    key: keyOf(id, token.subarray(ID_BYTES, ID_BYTES + SECRET_BYTES)),
    expiresAt,
  };
}

function keyOf(id: Buffer, secret: Buffer): Buffer {
  return Buffer.from(hkdfSync("sha256", secret, id, "sortie invite 1", 32));
}

function peerOf(address: string, wrong: (what: string) => SortieError): string {
  try {
    const components = multiaddr(address).getComponents();
    const last = components.at(-1);
    if (
      last?.name === "p2p" &&
      v.is(PeerText, last.value) &&
      components.filter((one) => one.name === "p2p").length === 1
    )
      return last.value;
  } catch {
    throw wrong("has an address that is none");
  }
  throw wrong("has an address without the peer's ID at its end");
}

const pinnedTo = (address: string, peer: string): string =>
  address.includes("/p2p/") ? address : `${address}/p2p/${peer}`;

/** A short fingerprint of an invite, for logs: it does not help to guess the token. */
export const inviteFingerprint = (id: string): string => createHash("sha256").update(id).digest("hex").slice(0, 8);

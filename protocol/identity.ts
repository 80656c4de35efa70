// A peer's lasting identity: one Ed25519 key in its state folder. The peer ID that Noise authenticates is made of it.
import { createPrivateKey, createPublicKey, type KeyObject, randomBytes } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  linkSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey, peerIdFromString } from "@libp2p/peer-id";
import { SortieError } from "./errors.ts";
import { privateFolder, replaceFile, unusable } from "./home.ts";

export interface Identity {
  readonly privateKey: PrivateKey;
  /** The peer ID as people and pins write it: 12D3Koo… */
  readonly peer: string;
}

const SEED_BYTES = 32;
/** What stands before the seed in an Ed25519 key of PKCS #8 (RFC 8410). */
const PKCS8 = Buffer.from("302e020100300506032b657004220420", "hex");

const KEY = "identity.key";
const NEXT_KEY = "identity.next.key";
/** What it was before it was replaced, as long as somebody has to be told with it. */
const OLD_KEY = "identity.old.key";

/**
 * The identity in `FOLDER/identity.key` (0600), made at the first call. Two processes that start at once end up with
 * the same one. Throws STATE_INVALID for a key that others can read, that lies where others can write, or that is
 * damaged: a new one would silently break every pairing.
 */
export const loadIdentity = (folder: string): Promise<Identity> => load(folder, KEY);

/** Differs once the key was replaced, also by another process; empty where there is none. */
export const identityStamp = (folder: string): string => {
  const stat = statSync(join(folder, KEY), { bigint: true, throwIfNoEntry: false });
  return stat ? `${stat.ino}:${stat.mtimeNs}` : "";
};

/** The one before it, where that is kept. */
export const loadOldIdentity = async (folder: string): Promise<Identity | undefined> =>
  existsSync(join(folder, OLD_KEY)) ? load(folder, OLD_KEY) : undefined;

export const forgetOldIdentity = (folder: string): void => rmSync(join(folder, OLD_KEY), { force: true });

/**
 * Puts a new key in place of the one that is there, which is kept beside it. `record` writes down whatever the new one
 * needs; a crash before the end leaves the old one as it was.
 */
export async function replaceIdentity(
  folder: string,
  record: (old: Identity, next: Identity) => Promise<void>,
): Promise<Identity> {
  const path = join(folder, KEY);
  const old = await loadIdentity(folder);
  rmSync(join(folder, NEXT_KEY), { force: true });
  const next = await load(folder, NEXT_KEY);
  await record(old, next);
  replaceFile(join(folder, OLD_KEY), textOf(old.privateKey));
  renameSync(join(folder, NEXT_KEY), path);
  return next;
}

async function load(folder: string, name: string): Promise<Identity> {
  const path = join(folder, name);
  let text: string;
  try {
    refuseOthers(privateFolder(folder), 0o022, "written to", `chmod 700 ${folder}`);
    if (!existsSync(path)) await makeKey(path);
    text = readKey(path);
  } catch (error) {
    throw unusable(path, error);
  }
  return identityOf(path, text);
}

/** The key in a file that `newKey` made. Throws NOT_FOUND, and STATE_INVALID as loadIdentity does. */
export function loadKey(path: string): Identity {
  if (!existsSync(path))
    throw new SortieError("NOT_FOUND", `There is no key ${path}.`, {
      hint: `\`coordinator id --new-key ${path}\` makes one.`,
    });
  let text: string;
  try {
    text = readKey(path);
  } catch (error) {
    throw unusable(path, error);
  }
  return identityOf(path, text);
}

/** Makes a key in a file of its own (0600). Throws USAGE where there is one already. */
export async function newKey(path: string): Promise<Identity> {
  if (existsSync(path)) throw new SortieError("USAGE", `There is a file ${path} already.`);
  try {
    await makeKey(path);
  } catch (error) {
    throw unusable(path, error);
  }
  return loadKey(path);
}

function identityOf(path: string, text: string): Identity {
  try {
    const privateKey = privateKeyFromProtobuf(Buffer.from(text, "base64"));
    // The file holds the public half too, and nothing compares the two: a key damaged in either would fail in every
    // handshake. So that is made anew of the seed, and the whole must be what was written, to the letter.
    if (textOf(privateKey) !== text || !isPair(privateKey.raw)) throw new Error("it is not what was written");
    return { privateKey, peer: peerIdFromPrivateKey(privateKey).toString() };
  } catch (error) {
    throw new SortieError("STATE_INVALID", `The key ${path} is damaged.`, {
      hint: "Restore it from a backup, or remove it and pair again.",
      cause: error,
    });
  }
}

function readKey(path: string): string {
  // One open file for the look and the reading: what is read is what was looked at.
  const file = openSync(path, "r");
  try {
    const hint = `chmod 600 ${path}, if nobody else can have read it; otherwise remove it and pair again.`;
    refuseOthers(path, 0o077, "read", hint, fstatSync(file).mode);
    return readFileSync(file, "utf8");
  } finally {
    closeSync(file);
  }
}

function refuseOthers(path: string, rights: number, what: string, hint: string, mode = statSync(path).mode): void {
  if ((mode & rights) === 0) return;
  const octal = (mode & 0o777).toString(8);
  throw new SortieError("STATE_INVALID", `${path} can be ${what} by others (mode ${octal}).`, { hint });
}

const textOf = (key: PrivateKey): string => `${Buffer.from(privateKeyToProtobuf(key)).toString("base64")}\n`;

const keyOfSeed = (raw: Uint8Array): KeyObject =>
  createPrivateKey({ key: Buffer.concat([PKCS8, raw.subarray(0, SEED_BYTES)]), format: "der", type: "pkcs8" });

/** For Node's own Ed25519. */
export const signingKeyOf = ({ privateKey }: Identity): KeyObject => keyOfSeed(privateKey.raw);

/** The key that is in an Ed25519 peer ID; undefined for any other text. */
export function publicKeyOf(peer: string): KeyObject | undefined {
  try {
    const { publicKey } = peerIdFromString(peer);
    if (publicKey?.type !== "Ed25519") return undefined;
    const x = Buffer.from(publicKey.raw).toString("base64url");
    return createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" });
  } catch {
    return undefined;
  }
}

/** By Node's own cryptography: the one in JavaScript takes 30 ms of each start. */
function isPair(raw: Uint8Array): boolean {
  const { x = "" } = createPublicKey(keyOfSeed(raw)).export({ format: "jwk" });
  return Buffer.from(x, "base64url").equals(raw.subarray(SEED_BYTES));
}

async function makeKey(path: string): Promise<void> {
  const key = await generateKeyPair("Ed25519");
  const temporary = `${path}.${randomBytes(6).toString("hex")}.new`;
  try {
    writeFileSync(temporary, textOf(key), { mode: 0o600, flag: "wx", flush: true });
    // A link fails where the file exists: whoever comes second uses the first one's key, and never half a key.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(temporary, { force: true });
  }
}

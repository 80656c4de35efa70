// A peer's lasting identity: one Ed25519 key in its state folder. The peer ID that Noise authenticates is made of it.
import { linkSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { SortieError } from "./errors.ts";
import { privateFolder } from "./home.ts";

export interface Identity {
  readonly privateKey: PrivateKey;
  /** The peer ID as people and pins write it: 12D3Koo… */
  readonly peer: string;
}

/**
 * The identity in `FOLDER/identity.key` (0600), made at the first call. Two processes that start at once end up with
 * the same one. Throws STATE_INVALID for a key that others can read, or that is damaged: a new one would silently
 * break every pairing.
 */
export async function loadIdentity(folder: string): Promise<Identity> {
  const path = join(privateFolder(folder), "identity.key");
  if (!statSync(path, { throwIfNoEntry: false })) await makeKey(path);
  const mode = statSync(path).mode & 0o777;
  if (mode & 0o077) {
    throw new SortieError("STATE_INVALID", `The key ${path} can be read by others (mode ${mode.toString(8)}).`, {
      hint: `chmod 600 ${path}, if nobody else can have read it; otherwise remove it and pair again.`,
    });
  }
  try {
    const privateKey = privateKeyFromProtobuf(Buffer.from(readFileSync(path, "utf8"), "base64"));
    return { privateKey, peer: peerIdFromPrivateKey(privateKey).toString() };
  } catch (error) {
    throw new SortieError("STATE_INVALID", `The key ${path} is damaged.`, {
      hint: "Restore it from a backup, or remove it and pair again.",
      cause: error,
    });
  }
}

async function makeKey(path: string): Promise<void> {
  const key = await generateKeyPair("Ed25519");
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, `${Buffer.from(privateKeyToProtobuf(key)).toString("base64")}\n`, {
    mode: 0o600,
    flush: true,
  });
  try {
    // A link fails where the file exists: whoever comes second uses the first one's key, and never half a key.
    linkSync(temporary, path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  } finally {
    rmSync(temporary);
  }
}

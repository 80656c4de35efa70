// Whether a host's key is the one that is on record, from the text of known_hosts files as sshd(8) describes them.
// connect.ts asks; nothing is ever written there, and no key is taken unseen: a runner has nobody to compare it.
import { createHash, createHmac, timingSafeEqual } from "node:crypto";

export interface KnownHostsFile {
  readonly path: string;
  readonly text: string;
}

interface Entry {
  readonly marker: string | undefined;
  readonly type: string;
  readonly key: string;
  /** `FILE:LINE`. */
  readonly at: string;
}

export type Verdict =
  | { readonly kind: "known" }
  /** `authority`: the host is known by a certificate authority only, and certificates are not supported. */
  | { readonly kind: "unknown"; readonly authority: boolean }
  /** `at` is where another key of the host stands. */
  | { readonly kind: "changed"; readonly at: string }
  | { readonly kind: "revoked"; readonly at: string };

/** The type stands first in the key's own bytes (RFC 4253, 6.6). */
export const keyType = (key: Buffer): string => key.toString("latin1", 4, 4 + key.readUInt32BE(0));

export const fingerprint = (key: Buffer): string =>
  `SHA256:${createHash("sha256").update(key).digest("base64").replace(/=+$/, "")}`;

/** How a host stands in the files: by its alias, or by its name with the port where that is not 22. */
export const recordedName = (hostname: string, port: number, alias: string | undefined): string =>
  alias ?? (port === 22 ? hostname.toLowerCase() : `[${hostname.toLowerCase()}]:${port}`);

/** The types of the keys that are on record, so that the host is asked for one of those. */
export const knownTypes = (files: readonly KnownHostsFile[], name: string): string[] => [
  ...new Set(
    entriesOf(files, name)
      .filter(({ marker }) => marker === undefined)
      .map(({ type }) => type),
  ),
];

export function judge(files: readonly KnownHostsFile[], name: string, key: Buffer): Verdict {
  const entries = entriesOf(files, name);
  const offered = key.toString("base64");
  const revoked = entries.find((entry) => entry.marker === "@revoked" && entry.key === offered);
  if (revoked) return { kind: "revoked", at: revoked.at };
  const plain = entries.filter(({ marker }) => marker === undefined);
  if (plain.some((entry) => entry.key === offered)) return { kind: "known" };
  const [other] = [...plain.filter(({ type }) => type === keyType(key)), ...plain];
  if (other) return { kind: "changed", at: other.at };
  return { kind: "unknown", authority: entries.some(({ marker }) => marker === "@cert-authority") };
}

function entriesOf(files: readonly KnownHostsFile[], name: string): Entry[] {
  return files.flatMap(({ path, text }) =>
    text.split("\n").flatMap((line, index) => {
      const words = line.trim().split(/[ \t]+/);
      const marker = words[0]?.startsWith("@") ? words.shift() : undefined;
      const [hosts = "", type, key] = words;
      if (hosts.startsWith("#") || type === undefined || key === undefined || !names(hosts, name)) return [];
      // Written again from its bytes, so that padding and stray characters make no difference.
      return [{ marker, type, key: Buffer.from(key, "base64").toString("base64"), at: `${path}:${index + 1}` }];
    }),
  );
}

/** A list of patterns names a host where one of them fits and none that is negated does. */
function names(patterns: string, name: string): boolean {
  let named = false;
  for (const pattern of patterns.split(",")) {
    const negated = pattern.startsWith("!");
    if (!fits(negated ? pattern.slice(1) : pattern, name)) continue;
    if (negated) return false;
    named = true;
  }
  return named;
}

function fits(pattern: string, name: string): boolean {
  const [, , salt, hash] = pattern.startsWith("|1|") ? pattern.split("|") : [];
  if (salt !== undefined && hash !== undefined) {
    const expected = Buffer.from(hash, "base64");
    const actual = createHmac("sha1", Buffer.from(salt, "base64")).update(name).digest();
    return expected.length === actual.length && timingSafeEqual(expected, actual);
  }
  const expression = pattern
    .toLowerCase()
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${expression}$`).test(name.toLowerCase());
}

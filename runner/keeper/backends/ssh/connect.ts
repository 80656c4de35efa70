// One connection to a host, authenticated on both sides, through its jump hosts if it has any. sessions.ts opens them.
import { readFile } from "node:fs/promises";
import { connect as connectSocket } from "node:net";
import type { Duplex } from "node:stream";
import type { AnyAuthMethod, Client, ServerHostKeyAlgorithm } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused } from "../backend.ts";
import { type Keys, keysFor } from "./keys.ts";
import { fingerprint, judge, type KnownHostsFile, keyType, knownTypes, recordedName } from "./known-hosts.ts";
import type { Hop, Way } from "./target.ts";
import { unless } from "./unless.ts";

export interface Connection {
  readonly client: Client;
  /** Why it is gone; resolves before its channels are told. */
  readonly gone: Promise<string>;
  /** Says goodbye, and resolves when it is gone. */
  close(): Promise<void>;
}

/** `[user@]host`, and where that is. */
export const describeHop = ({ host, hostname, port, user }: Hop): string =>
  `${user}@${host}${host === hostname && port === 22 ? "" : ` (${hostname} port ${port})`}`;

/** Rejects with Refused; soon, with anything, when `leaving` is aborted. */
export async function connectWay(way: Way, leaving: AbortSignal): Promise<Connection> {
  let before: Connection | undefined;
  for (const [index, hop] of way.entries()) {
    const previous = way[index - 1];
    try {
      before = await connectHop(hop, previous, before, leaving);
    } catch (error) {
      await before?.close();
      throw error;
    }
  }
  return before as Connection;
}

async function connectHop(
  hop: Hop,
  previous: Hop | undefined,
  through: Connection | undefined,
  leaving: AbortSignal,
): Promise<Connection> {
  const ssh2 = (await import("ssh2")).default;
  const files = await readKnownHosts(hop);
  const keys = await unless(leaving, keysFor(hop, ssh2));
  const socket = through
    ? await forward(through.client, hop, previous, leaving)
    : connectSocket({ host: hop.hostname, port: hop.port, noDelay: true });
  socket.on("error", () => {});
  const client = new ssh2.Client();
  const ready = Promise.withResolvers<void>();
  const gone = Promise.withResolvers<string>();
  let reason = "the server closed it";
  let refusal: Refused | undefined;
  client.on("ready", () => ready.resolve());
  client.on("error", (error: Error & { level?: string; code?: unknown }) => {
    // An agent that cannot sign with one key: the next one is tried.
    if (error.level === "agent") return;
    reason = oneLine(error.message);
    refusal ??= refusalOf(error, hop, keys);
    ready.reject(refusal);
  });
  client.on("close", () => {
    ready.reject(refusal ?? new Refused("host", `${describeHop(hop)} closed the connection before it was ready`));
    gone.resolve(reason);
    void through?.close();
  });
  try {
    client.connect({
      sock: socket as Duplex as import("node:stream").Readable,
      username: hop.user,
      readyTimeout: hop.connectTimeoutMs,
      keepaliveInterval: hop.keepaliveMs,
      keepaliveCountMax: hop.keepaliveCount,
      algorithms: { serverHostKey: preferred(knownTypes(files, nameOf(hop))) },
      authHandler: authenticate(hop, keys),
      hostVerifier: (key: Buffer) => {
        refusal = verify(key, hop, files, through !== undefined);
        return refusal === undefined;
      },
    });
    await unless(leaving, ready.promise);
  } catch (error) {
    client.destroy();
    socket.destroy();
    throw error instanceof Refused || leaving.aborted ? error : refusalOf(error as Error, hop, keys);
  }
  return {
    client,
    gone: gone.promise,
    async close() {
      const timer = setTimeout(() => client.destroy(), limits.closeMs);
      client.end();
      await gone.promise;
      clearTimeout(timer);
      await through?.close();
    },
  };
}

/** A stream to the host from its jump host. */
function forward(client: Client, hop: Hop, previous: Hop | undefined, leaving: AbortSignal): Promise<Duplex> {
  const answered = new Promise<Duplex>((resolve, reject) => {
    const failed = (error: Error): void =>
      reject(
        new Refused(
          "host",
          `${describeHop(hop)} could not be reached from ${previous?.host}: ${oneLine(error.message.replace("(SSH) Channel open failure: ", ""))}`,
        ),
      );
    try {
      client.forwardOut("127.0.0.1", 0, hop.hostname, hop.port, (error, channel) =>
        error ? failed(error) : resolve(channel),
      );
    } catch (error) {
      failed(error as Error);
    }
    setTimeout(
      () => failed(new Error(`no answer within ${hop.connectTimeoutMs / 1000} s`)),
      hop.connectTimeoutMs,
    ).unref();
  });
  return unless(leaving, answered);
}

const nameOf = (hop: Hop): string => recordedName(hop.hostname, hop.port, hop.hostKeyAlias);

async function readKnownHosts(hop: Hop): Promise<KnownHostsFile[]> {
  const read = async (path: string): Promise<KnownHostsFile> => ({
    path,
    text: await readFile(path, "utf8").catch(() => ""),
  });
  return Promise.all(hop.knownHostsFiles.map(read));
}

/** SHA-1 signatures are not among them, as in OpenSSH. */
const HOST_KEYS: readonly ServerHostKeyAlgorithm[] = [
  "ssh-ed25519",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "rsa-sha2-512",
  "rsa-sha2-256",
];

/** Kinds that are on record first: a host shows the first one that it has, and only one that is known can be compared. */
function preferred(types: readonly string[]): ServerHostKeyAlgorithm[] {
  const known = HOST_KEYS.filter((name) => types.includes(name.startsWith("rsa-") ? "ssh-rsa" : name));
  return [...new Set([...known, ...HOST_KEYS])];
}

function verify(key: Buffer, hop: Hop, files: readonly KnownHostsFile[], jumped: boolean): Refused | undefined {
  let verdict = judge(files, nameOf(hop), key);
  if (verdict.kind === "known") return undefined;
  // As OpenSSH does: a host that is on record without its port is the same host.
  const bare = hop.hostname.toLowerCase();
  if (verdict.kind === "unknown" && hop.hostKeyAlias === undefined && nameOf(hop) !== bare) {
    const withoutPort = judge(files, bare, key);
    if (withoutPort.kind === "known") return undefined;
    if (withoutPort.kind === "revoked") verdict = withoutPort;
  }
  const type = keyType(key);
  const shown = `its ${type} key is ${fingerprint(key)}`;
  const who = describeHop(hop);
  switch (verdict.kind) {
    case "revoked":
      return new Refused("host", `the host key of ${who} IS REVOKED by ${verdict.at}: ${shown}`);
    case "changed":
      return new Refused(
        "host",
        `THE HOST KEY OF ${who} HAS CHANGED, or somebody is in between: ${shown}, which is not the one in ${verdict.at}; only if you know why it changed, remove that line and accept the new one`,
      );
    case "unknown": {
      const why = verdict.authority
        ? `${who} is known by a certificate authority only, which is not supported`
        : `the host key of ${who} is not known`;
      return new Refused(
        "host",
        `${why}: ${shown}; accept it with \`${acceptance(hop, type, jumped)}\` after comparing`,
      );
    }
  }
}

/** What a person types on the runner to have the key on record where it is looked up. */
function acceptance(hop: Hop, type: string, jumped: boolean): string {
  // ssh-keyscan knows neither jumps nor aliases of keys; ssh itself asks, and shows the same fingerprint.
  if (jumped || hop.hostKeyAlias !== undefined) return `ssh ${hop.host} true`;
  const kind = type.startsWith("ecdsa") ? "ecdsa" : type.replace("ssh-", "");
  const port = hop.port === 22 ? "" : `-p ${hop.port} `;
  return `ssh-keyscan -t ${kind} ${port}${hop.hostname} >> ${hop.knownHostsFiles[0] ?? "~/.ssh/known_hosts"}`;
}

/** `none` comes first, as in OpenSSH: some servers know who it is already. */
function authenticate(hop: Hop, keys: Keys) {
  const { user: username } = hop;
  const methods: AnyAuthMethod[] = [
    { type: "none", username },
    ...(keys.agent ? [{ type: "agent" as const, username, agent: keys.agent }] : []),
    ...keys.files.map((key) => ({ type: "publickey" as const, username, key })),
  ];
  return (_left: unknown, _partial: unknown, next: (method: AnyAuthMethod) => void): void =>
    next(methods.shift() ?? (false as unknown as AnyAuthMethod));
}

function refusalOf(error: Error & { level?: string; code?: unknown }, hop: Hop, keys: Keys): Refused {
  const who = describeHop(hop);
  const text = oneLine(error.message);
  const skipped = keys.skipped.length > 0 ? `; not offered: ${keys.skipped.join(", ")}` : "";
  if (error.level === "client-authentication" || /authentication failures/i.test(text)) {
    const many = /authentication failures/i.test(text) ? ", and would not take as many as there are" : "";
    return new Refused(
      "host",
      keys.offered.length > 0
        ? `${who} refused every key it was offered: ${keys.offered.join(", ")}${many}${skipped}`
        : `there is no key for ${who}${skipped}`,
    );
  }
  if (error.level === "client-timeout")
    return new Refused("host", `${who} did not answer within ${hop.connectTimeoutMs / 1000} s`);
  if (error.level === "client-socket") {
    const code = typeof error.code === "string" ? error.code : text;
    return new Refused("host", `${who} could not be reached: ${SOCKET_ERRORS[code] ?? code}`);
  }
  return new Refused("host", `no ssh connection to ${who}: ${text}`);
}

const SOCKET_ERRORS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "nothing listens there (ECONNREFUSED)",
  ENOTFOUND: "there is no such name (ENOTFOUND)",
  EAI_AGAIN: "its name could not be looked up (EAI_AGAIN)",
  ETIMEDOUT: "no answer (ETIMEDOUT)",
  EHOSTUNREACH: "there is no way to it (EHOSTUNREACH)",
  ENETUNREACH: "there is no way to it (ENETUNREACH)",
};

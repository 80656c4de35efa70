// Which keys a host is offered, in OpenSSH's own order: those of the agent that the configuration names, the agent's
// others, then the files. connect.ts asks, and tells the names where none was taken.
import { readFile } from "node:fs/promises";
import type { BaseAgent, ParsedKey } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { fingerprint } from "./known-hosts.ts";
import type { Hop } from "./target.ts";

export interface Keys {
  /** Gives the keys that are to be offered only; absent where it has none of them. */
  readonly agent: BaseAgent | undefined;
  readonly files: readonly ParsedKey[];
  /** What is offered, and what could not be and why, for a person. */
  readonly offered: readonly string[];
  readonly skipped: readonly string[];
}

type Ssh2 = typeof import("ssh2");

interface Identity {
  readonly path: string;
  /** Its public half, to find it in the agent. */
  readonly publicKey: Buffer | undefined;
  readonly privateKey: ParsedKey | undefined;
  /** Why there is no private key. */
  readonly unusable: string;
}

export async function keysFor(hop: Hop, ssh2: Ssh2): Promise<Keys> {
  const identities = (await Promise.all(hop.identityFiles.map((path) => readIdentity(path, ssh2)))).filter(
    (identity) => identity !== undefined,
  );
  const skipped: string[] = [];
  const inAgent = hop.agent === undefined ? [] : await agentKeys(hop.agent, ssh2, skipped);
  const named = identities.flatMap(({ publicKey }) => inAgent.filter((key) => publicKey?.equals(key.getPublicSSH())));
  const others = hop.identitiesOnly ? [] : inAgent.filter((key) => !named.includes(key));
  const fromAgent = [...new Set([...named, ...others])];
  const held = (identity: Identity): boolean => fromAgent.some((key) => identity.publicKey?.equals(key.getPublicSSH()));
  const files: ParsedKey[] = [];
  const offered = fromAgent.map(
    (key) => `${oneLine(key.comment ?? "") || key.type} of the agent (${fingerprint(key.getPublicSSH())})`,
  );
  for (const identity of identities.filter((each) => !held(each))) {
    if (identity.privateKey) {
      files.push(identity.privateKey);
      offered.push(`${identity.path} (${fingerprint(identity.privateKey.getPublicSSH())})`);
    } else skipped.push(`${identity.path} (${identity.unusable})`);
  }
  return {
    agent: fromAgent.length > 0 ? restricted(hop.agent ?? "", fromAgent, ssh2) : undefined,
    files,
    offered,
    skipped,
  };
}

/** The agent at a socket, as one that has these keys only. */
function restricted(path: string, keys: ParsedKey[], ssh2: Ssh2): BaseAgent {
  const agent = ssh2.createAgent(path);
  agent.getIdentities = (callback) => callback(undefined, keys);
  return agent;
}

async function agentKeys(path: string, ssh2: Ssh2, skipped: string[]): Promise<ParsedKey[]> {
  const answered = Promise.withResolvers<ParsedKey[]>();
  const timer = setTimeout(() => answered.reject(new Error("it does not answer")), limits.sshAgentMs);
  ssh2.createAgent(path).getIdentities((error, keys) => {
    if (error) answered.reject(error);
    else answered.resolve((keys ?? []) as ParsedKey[]);
  });
  try {
    return await answered.promise;
  } catch (error) {
    skipped.push(`the agent at ${path} (${oneLine((error as Error).message)})`);
    return [];
  } finally {
    clearTimeout(timer);
  }
}

/** Undefined where there is no such file, as for most of OpenSSH's defaults. */
async function readIdentity(path: string, ssh2: Ssh2): Promise<Identity | undefined> {
  const beside = async (): Promise<Buffer | undefined> => {
    const text = await readFile(`${path}.pub`, "utf8").catch(() => "");
    const key = text ? parsed(text, ssh2) : undefined;
    return key instanceof Error ? undefined : key?.getPublicSSH();
  };
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    const publicKey = await beside();
    if (code === "ENOENT" && !publicKey) return undefined;
    return { path, publicKey, privateKey: undefined, unusable: code === "ENOENT" ? "not in the agent" : `${code}` };
  }
  const key = parsed(text, ssh2);
  if (key instanceof Error) {
    const encrypted = /encrypted/i.test(key.message);
    const unusable = encrypted ? "encrypted, and not in the agent" : "of a kind that is not supported";
    return { path, publicKey: publicPart(text) ?? (await beside()), privateKey: undefined, unusable };
  }
  const publicKey = key.getPublicSSH();
  return {
    path,
    publicKey,
    privateKey: key.isPrivateKey() ? key : undefined,
    unusable: "a public key, and not in the agent",
  };
}

function parsed(text: string, ssh2: Ssh2): ParsedKey | Error {
  const result: ParsedKey | Error | ParsedKey[] = ssh2.utils.parseKey(text);
  if (!Array.isArray(result)) return result;
  return result[0] ?? new Error("no key");
}

/** OpenSSH's own format has the public half in clear also where the private one is encrypted (PROTOCOL.key). */
function publicPart(text: string): Buffer | undefined {
  const [, body] = /-----BEGIN OPENSSH PRIVATE KEY-----([\s\S]+?)-----END/.exec(text) ?? [];
  if (body === undefined) return undefined;
  const bytes = Buffer.from(body, "base64");
  let at = "openssh-key-v1\0".length;
  const next = (): Buffer => {
    const length = bytes.readUInt32BE(at);
    at += 4 + length;
    return bytes.subarray(at - length, at);
  };
  try {
    for (let skip = 0; skip < 3; skip++) next();
    at += 4;
    return next();
  } catch {
    return undefined;
  }
}

// Which container engine this machine uses, found as Docker's own command finds it, and a connection to it.
// container.ts asks for each job, so that an engine that was started later, or moved, is found too.
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { Agent as HttpAgent } from "node:http";
import { Agent as HttpsAgent } from "node:https";
import { homedir } from "node:os";
import { join } from "node:path";
import type Docker from "dockerode";
import * as v from "valibot";
import { messageOf } from "../../../../protocol/errors.ts";
import { Refused } from "../backend.ts";
import { withDeadlines } from "./deadlines.ts";

/** Where an engine listens: `unix:///path` or `tcp://host:port`, and for TLS the folder with ca.pem, cert.pem, key.pem. */
export const Address = v.strictObject({
  url: v.string(),
  certificates: v.exactOptional(v.string()),
  /** TLS without looking at who answers, as a context may say. */
  unverified: v.exactOptional(v.literal(true)),
});
export type Address = Readonly<v.InferOutput<typeof Address>>;

export interface Engine {
  readonly address: Address;
  readonly docker: Docker;
  /** How http.request reaches it. */
  readonly reach: Readonly<Record<string, unknown>>;
  readonly isPodman: boolean;
  /** The first number of its version. */
  readonly major: number;
  /** Whether it sees this machine's files. */
  readonly isLocal: boolean;
}

const DockerConfig = v.object({ currentContext: v.optional(v.string()) });
const ContextMeta = v.object({
  Endpoints: v.object({ docker: v.object({ Host: v.string(), SkipTLSVerify: v.optional(v.boolean()) }) }),
});

export const dockerFolder = (env: NodeJS.ProcessEnv): string => env["DOCKER_CONFIG"] || join(homedir(), ".docker");

/** Connects to the engine that answers; rejects with Refused, telling what was tried. */
export async function findEngine(env: NodeJS.ProcessEnv = process.env, cancelled?: AbortSignal): Promise<Engine> {
  const tried: string[] = [];
  for (const { address, from } of candidates(env)) {
    try {
      return await connect(address, cancelled);
    } catch (error) {
      cancelled?.throwIfAborted();
      tried.push(`${address.url}${from} (${error instanceof Refused ? error.message : reasonOf(error)})`);
    }
  }
  throw new Refused(
    "engine",
    `no container engine answers: tried ${tried.join(", ")}; start Docker or Podman's socket, let this user open it, or set DOCKER_HOST`,
  );
}

/** Connects, and asks the engine who it is; rejects where it does not answer. */
export async function connect(address: Address, cancelled?: AbortSignal): Promise<Engine> {
  const { Docker, reach } = await client(address);
  const docker = withDeadlines(
    new Docker({ host: undefined, port: undefined, protocol: "http", ...reach } as Docker.DockerOptions),
  );
  const version = (await docker.version({ ...(cancelled ? { abortSignal: cancelled } : {}) } as never)) as unknown as {
    Components?: { Name?: string }[];
    Version?: string;
  };
  return {
    address,
    docker,
    reach,
    isPodman: version.Components?.some(({ Name }) => Name?.startsWith("Podman")) ?? false,
    major: Number.parseInt(version.Version ?? "", 10),
    isLocal: address.url.startsWith("unix:"),
  };
}

function candidates(env: NodeJS.ProcessEnv): { address: Address; from: string }[] {
  const host = env["DOCKER_HOST"];
  if (host) return [{ address: fromEnvironment(host, env), from: " of DOCKER_HOST" }];
  const context = currentContext(env);
  if (context) return [{ address: context.address, from: ` of the docker context ${context.name}` }];
  const ownFolder = env["XDG_RUNTIME_DIR"];
  return [
    "/var/run/docker.sock",
    ...(ownFolder ? [join(ownFolder, "podman/podman.sock")] : []),
    "/run/podman/podman.sock",
  ].map((path) => ({ address: { url: `unix://${path}` }, from: "" }));
}

function fromEnvironment(host: string, env: NodeJS.ProcessEnv): Address {
  const url = host.includes("://") ? host : `tcp://${host}`;
  const verify = Boolean(env["DOCKER_TLS_VERIFY"]);
  if (!url.startsWith("tcp:") || !(verify || env["DOCKER_CERT_PATH"])) return { url };
  return {
    url,
    certificates: env["DOCKER_CERT_PATH"] || dockerFolder(env),
    ...(verify ? {} : { unverified: true as const }),
  };
}

function currentContext(env: NodeJS.ProcessEnv): { name: string; address: Address } | undefined {
  const folder = dockerFolder(env);
  const name = env["DOCKER_CONTEXT"] || readContextName(join(folder, "config.json"));
  if (!name || name === "default") return undefined;
  const id = createHash("sha256").update(name).digest("hex");
  const path = join(folder, "contexts/meta", id, "meta.json");
  let meta: v.InferOutput<typeof ContextMeta>;
  try {
    meta = v.parse(ContextMeta, JSON.parse(readFileSync(path, "utf8")));
  } catch (error) {
    throw new Refused("engine", `the docker context ${name} cannot be read from ${path} (${messageOf(error)})`);
  }
  const { Host: url, SkipTLSVerify: unverified } = meta.Endpoints.docker;
  const certificates = join(folder, "contexts/tls", id, "docker");
  const tls = url.startsWith("tcp:") && existsSync(certificates);
  return {
    name,
    address: { url, ...(tls ? { certificates } : {}), ...(tls && unverified ? { unverified: true as const } : {}) },
  };
}

function readContextName(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  try {
    return v.parse(DockerConfig, JSON.parse(readFileSync(path, "utf8"))).currentContext;
  } catch (error) {
    throw new Refused("engine", `${path} cannot be read (${messageOf(error)})`);
  }
}

/** Connections are not kept: one that an engine closed meanwhile would fail the next call. */
async function client(
  address: Address,
): Promise<{ Docker: typeof import("dockerode"); reach: Record<string, unknown> }> {
  const reach = reachOf(address);
  return { Docker: (await import("dockerode")).default, reach };
}

function reachOf({ url, certificates, unverified }: Address): Record<string, unknown> {
  const unix = /^unix:\/\/(\/.+)$/.exec(url)?.[1];
  if (unix) return { socketPath: unix, agent: new HttpAgent({ keepAlive: false }) };
  const tcp = /^tcp:\/\/(\[[^\]]+\]|[^:/]+)(?::(\d+))?\/?$/.exec(url);
  if (!tcp) {
    const why = url.startsWith("ssh:") ? "an engine over ssh is not supported" : "unix:// and tcp:// are supported";
    throw new Refused("engine", why);
  }
  const host = (tcp[1] as string).replace(/^\[|\]$/g, "");
  if (!certificates) return { host, port: Number(tcp[2] ?? 2375), agent: new HttpAgent({ keepAlive: false }) };
  const tls = {
    ca: readFileSync(join(certificates, "ca.pem")),
    cert: readFileSync(join(certificates, "cert.pem")),
    key: readFileSync(join(certificates, "key.pem")),
  };
  return {
    host,
    port: Number(tcp[2] ?? 2376),
    protocol: "https",
    ...tls,
    agent: new HttpsAgent({ keepAlive: false, ...tls, rejectUnauthorized: !unverified }),
  };
}

/** Short: the code where there is one. */
export const reasonOf = (error: unknown): string =>
  (error as NodeJS.ErrnoException).code?.toString() ?? messageOf(error);

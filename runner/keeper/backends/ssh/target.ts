// What the runner's own ssh configuration says of a host, as `ssh -G` tells it: no parser knows ssh_config better.
// Each jump host is resolved in the same way. ssh.ts asks, and keeps the answer for a while.
import { homedir } from "node:os";
import { execa } from "execa";
import { limits } from "../../../../protocol/limits.ts";
import type { SshTarget } from "../../../../protocol/place.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused } from "../backend.ts";

/** One host to be connected to. Two that are equal in every field are the same. */
export interface Hop {
  /** As it was asked for: what messages and commands name. */
  readonly host: string;
  readonly hostname: string;
  readonly port: number;
  readonly user: string;
  readonly identityFiles: readonly string[];
  readonly identitiesOnly: boolean;
  /** The path of the agent's socket. */
  readonly agent: string | undefined;
  readonly knownHostsFiles: readonly string[];
  readonly hostKeyAlias: string | undefined;
  readonly connectTimeoutMs: number;
  readonly keepaliveMs: number;
  readonly keepaliveCount: number;
}

/** The way to a host: the jump hosts in their order, and the host itself as the last. */
export type Way = readonly [...Hop[], Hop];

/** `config` replaces the user's own configuration file. Rejects with Refused. */
export async function resolveWay(
  target: SshTarget,
  config: string | undefined,
  jumps?: readonly string[],
  depth = 0,
): Promise<Way> {
  if (depth > limits.sshJumps)
    throw new Refused("host", `${target.host} is behind more than ${limits.sshJumps} jump hosts`);
  const settings = await configurationOf(target, config);
  const one = (name: string): string | undefined => settings.get(name)?.[0];
  if (one("proxycommand") && one("proxycommand") !== "none")
    throw new Refused(
      "host",
      `the ssh configuration of ${target.host} has a ProxyCommand, which is not supported; use ProxyJump`,
    );
  const hop = hopOf(target, settings);
  const [asked, ...before] = [...(jumps ?? jumpsOf(one("proxyjump")))].reverse();
  const through = asked === undefined ? undefined : parseJump(asked);
  // `Host *` with a ProxyJump names the jump host too, which is not reached through itself.
  if (!through || (jumps === undefined && through.host === target.host)) return [hop];
  // The jump before the last is asked for here; only the first one has jumps of its own.
  return [...(await resolveWay(through, config, before.length > 0 ? before.reverse() : undefined, depth + 1)), hop];
}

const jumpsOf = (value: string | undefined): string[] =>
  value === undefined || value === "none" ? [] : value.split(",").filter(Boolean);

/** `[ssh://][user@]host[:port]`; an IPv6 address with a port stands in brackets. */
function parseJump(jump: string): SshTarget {
  const [, user, bracketed, plain, port] =
    /^(?:ssh:\/\/)?(?:(.+)@)?(?:\[([^\]]+)\]|([^:]+|[^[]*:[^[]*:[^[]*?))(?::(\d+))?$/.exec(jump) ?? [];
  const host = bracketed ?? plain;
  if (!host || host.startsWith("-")) throw new Refused("host", `"${oneLine(jump)}" is no jump host`);
  return { host, ...(user ? { user } : {}), ...(port ? { port: Number(port) } : {}) };
}

async function configurationOf(target: SshTarget, config: string | undefined): Promise<Map<string, string[]>> {
  const args = [
    "-G",
    ...(config === undefined ? [] : ["-F", config]),
    ...(target.user === undefined ? [] : ["-l", target.user]),
    ...(target.port === undefined ? [] : ["-p", String(target.port)]),
    "--",
    target.host,
  ];
  const result = await execa("ssh", args, {
    reject: false,
    stdin: "ignore",
    timeout: limits.sshConfigMs,
    maxBuffer: 1024 * 1024,
  });
  if (result.failed) {
    if (result.code === "ENOENT")
      throw new Refused("host", "there is no ssh client on this runner: its `ssh` reads the ssh configuration");
    const why = result.timedOut
      ? `it took longer than ${limits.sshConfigMs / 1000} s`
      : oneLine(result.stderr).slice(0, 300) || "ssh -G failed";
    throw new Refused("host", `the ssh configuration of ${target.host} could not be read: ${why}`);
  }
  const settings = new Map<string, string[]>();
  for (const line of result.stdout.split("\n")) {
    const space = line.indexOf(" ");
    if (space < 0) continue;
    const name = line.slice(0, space);
    settings.set(name, [...(settings.get(name) ?? []), line.slice(space + 1).trim()]);
  }
  return settings;
}

function hopOf(target: SshTarget, settings: ReadonlyMap<string, readonly string[]>): Hop {
  const one = (name: string): string | undefined => settings.get(name)?.[0];
  const seconds = (name: string): number => Number(one(name)) || 0;
  const hostname = one("hostname") ?? target.host;
  const port = Number(one("port")) || 22;
  const user = one("user") ?? "";
  const expand = (path: string): string => expanded(path, { hostname, port, user, host: target.host });
  const listed = (name: string): string[] => (one(name) ?? "").split(" ").filter((path) => path && path !== "none");
  return {
    host: target.host,
    hostname,
    port,
    user,
    identityFiles: (settings.get("identityfile") ?? []).filter((path) => path !== "none").map(expand),
    identitiesOnly: one("identitiesonly") === "yes",
    agent: agentOf(one("identityagent"), expand),
    knownHostsFiles: [...listed("userknownhostsfile"), ...listed("globalknownhostsfile")].map(expand),
    hostKeyAlias: one("hostkeyalias"),
    connectTimeoutMs: seconds("connecttimeout") * 1000 || limits.sshConnectMs,
    keepaliveMs: seconds("serveraliveinterval") * 1000 || limits.sshKeepaliveMs,
    keepaliveCount: seconds("serveralivecountmax") || limits.sshKeepaliveCount,
  };
}

/** IdentityAgent of ssh_config(5): `none`, a variable's name, or a path; without it SSH_AUTH_SOCK. */
function agentOf(value: string | undefined, expand: (path: string) => string): string | undefined {
  if (value === "none") return undefined;
  if (value === undefined || value === "SSH_AUTH_SOCK") return process.env["SSH_AUTH_SOCK"] || undefined;
  if (value.startsWith("$")) return process.env[value.slice(1).replace(/^\{(.*)\}$/, "$1")] || undefined;
  return expand(value);
}

/** `~`, `${VARIABLE}` and the tokens of ssh_config(5) that `ssh -G` leaves in paths. */
function expanded(path: string, hop: { hostname: string; port: number; user: string; host: string }): string {
  const tokens: Record<string, string> = {
    "%": "%",
    d: homedir(),
    h: hop.hostname,
    i: String(process.getuid?.() ?? ""),
    n: hop.host,
    p: String(hop.port),
    r: hop.user,
    u: process.env["USER"] ?? "",
  };
  return path
    .replace(/^~(?=\/|$)/, homedir())
    .replace(/\$\{([A-Za-z_][A-Za-z0-9_]*)\}/g, (_, name: string) => process.env[name] ?? "")
    .replace(/%([%dhinpru])/g, (_, token: string) => tokens[token] ?? "");
}

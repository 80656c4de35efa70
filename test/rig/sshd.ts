// A private sshd on loopback, with throw-away keys and a home of its own, and the client's configuration to reach it.
// Disposing it ends the server and its sessions, and removes the folder.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  appendFileSync,
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { allProcesses, contentOf, isRunning } from "./processes.ts";

const SSHD = "/usr/sbin/sshd";

/** Why there can be no server here, in one line; in CI that is a failure. */
export function whyNoSshd(): string | undefined {
  const missing = [SSHD, "/usr/bin/ssh", "/usr/bin/ssh-keygen"].filter((path) => {
    try {
      return !readFileSync(path);
    } catch {
      return true;
    }
  });
  if (missing.length === 0) return undefined;
  const why = `no ssh server can be started here: ${missing.join(", ")} missing`;
  if (process.env["CI"]) throw new Error(why);
  return why;
}

const isRoot = process.getuid?.() === 0;

/** Who can log in: for root sshd drops signal requests, for others it does not. Both can be had where this is root. */
export const logins: readonly Login[] = isRoot ? ["root", "nobody"] : ["self"];
export type Login = "root" | "nobody" | "self";

export interface SshdOptions {
  readonly login?: Login;
  readonly maxSessions?: number;
  /** Kinds of host keys besides ed25519. */
  readonly keys?: readonly string[];
  /** Of the login; where this is root only. */
  readonly shell?: string;
  /** More lines for sshd_config. */
  readonly lines?: readonly string[];
  /** The port that clients are told, where something stands in between. */
  readonly via?: (port: number) => Promise<number>;
}

export interface Sshd {
  readonly folder: string;
  /** The login's HOME. */
  readonly home: string;
  readonly port: number;
  readonly user: string;
  /** The private key that it takes, and its own public key as known_hosts has it, `ssh-ed25519 AAAA…`. */
  readonly key: string;
  readonly hostKey: string;
  readonly otherHostKeys: readonly string[];
  readonly knownHosts: string;
  /** An ssh_config in which the server is `target`. */
  readonly config: string;
  /** The server's own log. */
  log(): string;
  /** The listening process, whose children are the sessions. */
  readonly pid: number;
  [Symbol.asyncDispose](): Promise<void>;
}

export const sshKeygen = (path: string, passphrase = "", type = "ed25519"): string => {
  execFileSync("ssh-keygen", ["-q", "-t", type, "-N", passphrase, "-C", "rig", "-f", path], { stdio: "ignore" });
  return readFileSync(`${path}.pub`, "utf8").split(" ").slice(0, 2).join(" ");
};

export async function startSshd(options: SshdOptions = {}): Promise<Sshd> {
  const login = options.login ?? logins[0] ?? "self";
  const user = login === "self" ? userInfo().username : login;
  const folder = mkdtempSync(join(tmpdir(), "sortie-sshd-"));
  // Read by the login itself.
  chmodSync(folder, 0o755);
  const home = join(folder, "home");
  mkdirSync(home);
  const key = join(folder, "user-key");
  writeFileSync(join(folder, "authorized_keys"), `${sshKeygen(key)}\n`);
  const hostKey = sshKeygen(join(folder, "host-key"));
  const otherHostKeys = (options.keys ?? []).map((type) => sshKeygen(join(folder, `host-key-${type}`), "", type));
  if (isRoot) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const logPath = join(folder, "sshd.log");
  for (let tries = 0; ; tries++) {
    const port = await freePort();
    writeFileSync(
      join(folder, "sshd_config"),
      [
        `Port ${port}`,
        "ListenAddress 127.0.0.1",
        `HostKey ${join(folder, "host-key")}`,
        ...(options.keys ?? []).map((type) => `HostKey ${join(folder, `host-key-${type}`)}`),
        `AuthorizedKeysFile ${join(folder, "authorized_keys")}`,
        "PidFile none",
        "UsePAM no",
        "StrictModes no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin yes",
        `SetEnv HOME=${home}`,
        ...(options.maxSessions === undefined ? [] : [`MaxSessions ${options.maxSessions}`]),
        ...(options.lines ?? []),
        "",
      ].join("\n"),
    );
    writeFileSync(logPath, "");
    const server = serve(folder, logPath, login, options.shell);
    if (!(await listening(server, logPath))) {
      if (tries < 5 && readFileSync(logPath, "utf8").includes("in use")) continue;
      throw new Error(`sshd did not start: ${readFileSync(logPath, "utf8")}`);
    }
    if (login === "nobody") chownSync(home, 65_534, 65_534);
    const seen = (await options.via?.(port)) ?? port;
    const knownHosts = join(folder, "known_hosts");
    writeFileSync(knownHosts, `[127.0.0.1]:${seen} ${hostKey}\n`);
    const config = join(folder, "ssh_config");
    writeFileSync(config, hostBlock("target", { port: seen, user, key, knownHosts }));
    return {
      folder,
      home,
      port,
      user,
      key,
      hostKey,
      otherHostKeys,
      knownHosts,
      config,
      pid: server.pid as number,
      log: () => readFileSync(logPath, "utf8"),
      async [Symbol.asyncDispose]() {
        const sessions = childrenOf(server.pid as number);
        if (server.exitCode === null && server.signalCode === null) {
          const ended = once(server, "exit");
          server.kill();
          await ended;
        }
        // What runs in them would write on in its home while that is removed.
        const isAtHome = (pid: number): boolean => contentOf(pid, "environ").split("\0").includes(`HOME=${home}`);
        const left = (): number[] => allProcesses().filter((pid) => sessions.includes(pid) || isAtHome(pid));
        for (let pids = left(); pids.length > 0; pids = left().filter(isRunning)) {
          for (const pid of pids) {
            try {
              process.kill(pid, "SIGKILL");
            } catch {
              // It went with its connection.
            }
          }
          await delay(10);
        }
        rmSync(folder, { recursive: true, force: true });
      },
    };
  }
}

export interface HostBlock {
  readonly port: number;
  readonly user: string;
  readonly key: string;
  readonly knownHosts: string;
  readonly lines?: readonly string[];
}

/** A host of an ssh_config. */
export const hostBlock = (alias: string, { port, user, key, knownHosts, lines = [] }: HostBlock): string =>
  `${[
    `Host ${alias}`,
    "HostName 127.0.0.1",
    `Port ${port}`,
    `User ${user}`,
    `IdentityFile ${key}`,
    "IdentitiesOnly yes",
    `UserKnownHostsFile ${knownHosts}`,
    "GlobalKnownHostsFile none",
    ...lines,
    "",
  ]
    .join("\n  ")
    .trimEnd()}\n`;

/** The processes that a listening sshd has for its sessions. */
export const childrenOf = (pid: number): number[] =>
  allProcesses().filter((child) =>
    contentOf(child, "stat")
      .replace(/.*\) \S /s, "")
      .startsWith(`${pid} `),
  );

function serve(folder: string, logPath: string, login: Login, shell = "/bin/bash") {
  const args = ["-D", "-E", logPath, "-f", join(folder, "sshd_config")];
  if (!isRoot) return spawn(SSHD, args, { stdio: "ignore" });
  // The login with another shell, and its home here: in a view of the machine that only this server has.
  const passwd = join(folder, "passwd");
  const lines = readFileSync("/etc/passwd", "utf8").split("\n");
  const changed = lines.map((line) => {
    const fields = line.split(":");
    return fields[0] === login ? [...fields.slice(0, 5), join(folder, "home"), shell].join(":") : line;
  });
  writeFileSync(passwd, changed.join("\n"));
  const script = 'mount --bind "$1" /etc/passwd && shift && exec "$@"';
  return spawn("unshare", ["-m", "sh", "-c", script, "sh", passwd, SSHD, ...args], { stdio: "ignore" });
}

function listening(server: ReturnType<typeof serve>, logPath: string): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = setInterval(() => {
      if (readFileSync(logPath, "utf8").includes("Server listening on")) done(true);
    }, 10);
    const gone = (): void => done(false);
    const done = (is: boolean): void => {
      clearInterval(timer);
      server.off("exit", gone);
      resolve(is);
    };
    server.once("exit", gone);
    server.once("error", (error) => {
      appendFileSync(logPath, String(error));
      done(false);
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

// What the measurements share: a runner and a coordinator as a user starts them, a private sshd on loopback with
// throw-away keys, and runs of two commands in turn.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:net";
import { tmpdir, userInfo } from "node:os";
import { join } from "node:path";

export const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "dist", `${name}.js`);

export interface Bench {
  readonly folder: string;
  readonly runnerPid: number;
  readonly keeperPid: number;
  /** argv of `coordinator …` */
  coordinator(...args: string[]): string[];
  /** argv of a fresh `ssh`, and of one over a connection that is kept open. */
  ssh(...command: string[]): string[];
  sshMultiplexed(...command: string[]): string[];
  recipe(source: string): string;
  close(): Promise<void>;
}

export async function openBench(slots: number): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-bench-"));
  process.env["SORTIE_HOME"] = join(folder, "coordinator");
  const runner = spawn(
    process.execPath,
    [bin("runner"), "start", "--name", "w1", "--listen", "/ip4/127.0.0.1/tcp/0", "--slots", String(slots), "-A"],
    {
      env: { ...process.env, SORTIE_HOME: join(folder, "runner") },
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const invite = await said(runner, /'(sortie:[^']+)'/);
  execFileSync(process.execPath, [bin("coordinator"), "add", invite]);
  const { sshd, config } = await startSshd(join(folder, "ssh"));
  const multiplexed = ["-o", "ControlMaster=auto", "-o", `ControlPath=${folder}/control`, "-o", "ControlPersist=yes"];
  const project = join(folder, "project");
  mkdirSync(join(project, "node_modules"), { recursive: true });
  symlinkSync(root, join(project, "node_modules", "sortie"));
  writeFileSync(join(project, "package.json"), '{ "type": "module" }');

  return {
    folder,
    runnerPid: runner.pid as number,
    keeperPid: Number.parseInt(readFileSync(join(folder, "runner/runner/keeper/lock"), "latin1"), 10),
    coordinator: (...args) => [process.execPath, bin("coordinator"), ...args],
    ssh: (...command) => ["ssh", "-F", config, "-o", "ControlPath=none", "host", ...command],
    sshMultiplexed: (...command) => ["ssh", "-F", config, ...multiplexed, "host", ...command],
    recipe(source) {
      const path = join(project, "recipe.ts");
      writeFileSync(path, source);
      return path;
    },
    async close() {
      spawnSync("ssh", ["-F", config, ...multiplexed, "-O", "exit", "host"], { stdio: "ignore" });
      for (const child of [runner, sshd]) {
        child.kill("SIGTERM");
        await new Promise((resolve) => child.once("exit", resolve));
      }
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function startSshd(folder: string): Promise<{ sshd: ChildProcess; config: string }> {
  mkdirSync(folder, { mode: 0o700 });
  const key = (name: string): string => {
    execFileSync("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", join(folder, name)]);
    return join(folder, name);
  };
  const hostKey = key("host");
  const userKey = key("user");
  writeFileSync(join(folder, "authorized"), readFileSync(`${userKey}.pub`));
  chmodSync(join(folder, "authorized"), 0o600);
  const port = await freePort();
  writeFileSync(
    join(folder, "sshd_config"),
    `Port ${port}\nListenAddress 127.0.0.1\nHostKey ${hostKey}\nPidFile none\nAuthorizedKeysFile ${folder}/authorized\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nMaxSessions 100\n` +
      // A user's bash would read its .bashrc for each command (bash(1), "invoked by the remote shell daemon"), unless it
      // is nested: the peer is measured at its best.
      "SetEnv SHLVL=1\n",
  );
  // As root sshd separates privileges, and wants this directory, which its service would make.
  if (userInfo().uid === 0) mkdirSync("/run/sshd", { recursive: true, mode: 0o755 });
  const program = ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].find(existsSync) ?? "sshd";
  const sshd = spawn(program, ["-D", "-e", "-f", join(folder, "sshd_config")], { stdio: ["ignore", "ignore", "pipe"] });
  await said(sshd, /(Server listening)/);
  sshd.stderr?.resume();
  const config = join(folder, "ssh_config");
  writeFileSync(
    config,
    `Host host\n  HostName 127.0.0.1\n  Port ${port}\n  User ${userInfo().username}\n  IdentityFile ${userKey}\n  IdentitiesOnly yes\n  StrictHostKeyChecking no\n  UserKnownHostsFile /dev/null\n  LogLevel ERROR\n`,
  );
  return { sshd, config };
}

function said(child: ChildProcess, pattern: RegExp): Promise<string> {
  return new Promise((resolve, reject) => {
    let text = "";
    const look = (bytes: Buffer): void => {
      text += bytes;
      const found = pattern.exec(text)?.[1];
      if (found) resolve(found);
    };
    child.stdout?.on("data", look);
    child.stderr?.on("data", look);
    child.once("exit", () => reject(new Error(`it ended: ${text}`)));
  });
}

function freePort(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address ? address.port : 0));
    });
  });
}

/** Seconds that a command takes as a whole process; it must succeed. */
export function time(argv: readonly string[], stdin: "ignore" | number = "ignore"): number {
  const [program = "", ...args] = argv;
  const began = performance.now();
  const { status, stderr } = spawnSync(program, args, { stdio: [stdin, "ignore", "pipe"], maxBuffer: 1 << 26 });
  if (status !== 0) throw new Error(`${argv.join(" ")} exited with ${status}: ${stderr}`);
  return (performance.now() - began) / 1000;
}

/** Medians of two commands that run in turn, after a round that is not counted, and the median of their ratios. */
export function compare(
  ours: () => number,
  theirs: () => number,
  rounds: number,
): { ours: number; theirs: number; ratio: number } {
  ours();
  theirs();
  const pairs = Array.from({ length: rounds }, () => ({ ours: ours(), theirs: theirs() }));
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    theirs: median(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map((pair) => pair.ours / pair.theirs)),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? (sorted[middle] ?? 0) : ((sorted[middle - 1] ?? 0) + (sorted[middle] ?? 0)) / 2;
}

/** Resident memory of a process, in MiB. */
export const residentMiB = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1] ?? 0) / 1024;

// What the measurements share: a runner and a coordinator as a user starts them, a private sshd on loopback with
// throw-away keys, and runs of two commands in turn.
import { type ChildProcess, execFileSync, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import type { Container } from "../protocol/place.ts";
import { containerOf } from "../test/parity/container.ts";
import { IMAGE, prepareEngines, testEngine } from "../test/rig/engine.ts";
import { startSshd } from "../test/rig/sshd.ts";

export const root = join(import.meta.dirname, "..");
const bin = (name: string): string => join(root, "dist", `${name}.js`);

export interface Bench {
  readonly folder: string;
  readonly runnerPid: number;
  readonly keeperPid: number;
  /** argv of `coordinator …` */
  coordinator(...args: string[]): string[];
  /** Of the tests' image, which asks for nothing else. */
  readonly container: Container;
  /** argv of a fresh `ssh`, and of one over a connection that is kept open. */
  ssh(...command: string[]): string[];
  sshMultiplexed(...command: string[]): string[];
  recipe(source: string): string;
  close(): Promise<void>;
}

export async function openBench(slots: number): Promise<Bench> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-bench-"));
  // A user's bash would read its .bashrc for each command (bash(1), "invoked by the remote shell daemon"), unless it is
  // nested: the peer is measured at its best.
  const sshd = await startSshd({ maxSessions: 100, lines: ["SetEnv SHLVL=1"] });
  const endEngines = prepareEngines();
  const engine = await testEngine("docker");
  if ("missing" in engine) throw new Error(`the container engine: ${engine.missing}`);
  process.env["DOCKER_HOST"] = engine.host;
  process.env["SORTIE_SSH_CONFIG"] = sshd.config;
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
    container: containerOf(IMAGE),
    ssh: (...command) => ["ssh", "-F", sshd.config, "-o", "ControlPath=none", "target", ...command],
    sshMultiplexed: (...command) => ["ssh", "-F", sshd.config, ...multiplexed, "target", ...command],
    recipe(source) {
      const path = join(project, "recipe.ts");
      writeFileSync(path, source);
      return path;
    },
    async close() {
      spawnSync("ssh", ["-F", sshd.config, ...multiplexed, "-O", "exit", "target"], { stdio: "ignore" });
      runner.kill("SIGTERM");
      await new Promise((resolve) => runner.once("exit", resolve));
      await sshd[Symbol.asyncDispose]();
      await endEngines();
      rmSync(folder, { recursive: true, force: true });
    },
  };
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

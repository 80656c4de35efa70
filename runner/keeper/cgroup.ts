// A control group (cgroup v2) for a job with limits, below the runner's own: limits are set on it, and everything the job
// starts is in it, whatever it does to its environment, its group or its session. Other jobs have none: to put a process
// into a group takes the kernel several milliseconds, as long as many a job.
import { existsSync, mkdirSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ResourceLimits } from "../../protocol/place.ts";
import { processStat } from "../../protocol/process-stat.ts";
import { Refused } from "./backends/backend.ts";

const PREFIX = "sortie-";
const CPU_PERIOD_US = 100_000;
/** Where the runner's own processes go when limits ask for it: a group that has limits to give may hold none itself. */
const OWN_LEAF = "sortie-runner";

export interface ControlGroup {
  readonly path: string;
  members(): number[];
  /** KILL to all, in one go. */
  kill(): void;
  /** How often its memory ran out. */
  outOfMemory(): number;
  /** Once it is empty. */
  remove(): void;
}

/** Of this process, as the file system shows it; undefined where there is none, or it cannot be written. */
function ownGroup(): string | undefined {
  try {
    const mount = readFileSync("/proc/self/mounts", "latin1")
      .split("\n")
      .map((line) => line.split(" "))
      .find(([, , type]) => type === "cgroup2")?.[1];
    const within = /^0::(\/.*)$/m.exec(readFileSync("/proc/self/cgroup", "latin1"))?.[1];
    if (mount === undefined || within === undefined) return undefined;
    const own = join(mount, within);
    // A runner that was moved into the leaf by the one before it.
    return own.endsWith(`/${OWN_LEAF}`) ? join(own, "..") : own;
  } catch {
    return undefined;
  }
}

/** A group for one job, with its limits. Throws Refused where they cannot be set, and says why. */
export function openGroup(name: string, limits: ResourceLimits): ControlGroup {
  const own = ownGroup();
  const path = own && join(own, PREFIX + name);
  try {
    if (path === undefined) throw new Error("this machine has no control groups (cgroup v2)");
    mkdirSync(path);
  } catch (error) {
    throw cannotLimit(reason(error, own));
  }
  const group = groupAt(path);
  try {
    setLimits(own as string, path, limits);
    return group;
  } catch (error) {
    group.remove();
    throw error;
  }
}

/** What a job left there when its keeper died. */
export function findGroup(name: string): ControlGroup | undefined {
  const own = ownGroup();
  const path = own && join(own, PREFIX + name);
  return path !== undefined && existsSync(path) ? groupAt(path) : undefined;
}

const groupAt = (path: string): ControlGroup => ({
  path,
  members() {
    try {
      return membersBelow(path);
    } catch {
      return [];
    }
  },
  kill() {
    try {
      writeFileSync(join(path, "cgroup.kill"), "1");
    } catch {
      // Before Linux 5.14, or it is removed: what is in it is found one by one.
    }
  },
  outOfMemory() {
    try {
      return Number(/^oom_kill (\d+)$/m.exec(readFileSync(join(path, "memory.events"), "latin1"))?.[1] ?? 0);
    } catch {
      return 0;
    }
  },
  remove() {
    try {
      removeBelow(path);
    } catch {
      // Not empty: what survived KILL is in it.
    }
  },
});

/** A job may have made groups of its own in its group. */
const below = (path: string): string[] =>
  readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => join(path, name));

const membersBelow = (path: string): number[] => [
  ...readFileSync(join(path, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number),
  ...below(path).flatMap(membersBelow),
];

function removeBelow(path: string): void {
  for (const child of below(path)) removeBelow(child);
  rmdirSync(path);
}

function setLimits(own: string, path: string, { memory, cpus, pids }: ResourceLimits): void {
  const files: [controller: string, file: string, value: string][] = [];
  if (memory !== undefined) files.push(["memory", "memory.max", String(memory)], ["memory", "memory.swap.max", "0"]);
  if (cpus !== undefined) files.push(["cpu", "cpu.max", `${Math.round(cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`]);
  if (pids !== undefined) files.push(["pids", "pids.max", String(pids)]);
  for (const [controller, file, value] of files) {
    delegate(own, controller);
    // A kernel without swap has no such file.
    if (file === "memory.swap.max" && !existsSync(join(path, file))) continue;
    try {
      writeFileSync(join(path, file), value);
    } catch (error) {
      throw cannotLimit(reason(error, join(path, file)));
    }
  }
}

/** Lets the groups below have limits of this kind. */
function delegate(own: string, controller: string): void {
  const has = (file: string): boolean => readFileSync(join(own, file), "latin1").split(/\s+/).includes(controller);
  if (has("cgroup.subtree_control")) return;
  if (!has("cgroup.controllers"))
    throw cannotLimit(`the control group ${own} has no ${controller} controller: it was not delegated to the runner`);
  const enable = (): void => writeFileSync(join(own, "cgroup.subtree_control"), `+${controller}`);
  try {
    enable();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EBUSY") throw cannotLimit(reason(error, own));
    moveRunner(own);
    enable();
  }
}

/**
 * Only a group without processes of its own can give limits; the runner moves its own (what started it, and what it
 * started), and nobody else's.
 */
function moveRunner(own: string): void {
  const members = readFileSync(join(own, "cgroup.procs"), "latin1").split("\n").filter(Boolean).map(Number);
  const above = ancestorsOf(process.pid);
  if (members.some((pid) => pid !== process.pid && !above.includes(pid) && !ancestorsOf(pid).includes(process.pid)))
    throw cannotLimit(`processes beside the runner's are in its control group ${own}`);
  const leaf = join(own, OWN_LEAF);
  mkdirSync(leaf, { recursive: true });
  for (const pid of members) writeFileSync(join(leaf, "cgroup.procs"), String(pid));
}

function ancestorsOf(pid: number): number[] {
  const parent = processStat(pid)?.parent;
  return parent === undefined || parent <= 1 ? [] : [parent, ...ancestorsOf(parent)];
}

const cannotLimit = (why: string): Refused =>
  new Refused(
    "spawn",
    `limits cannot be set: ${why}; start the runner as a service of its own, with systemd's Delegate=yes, or run the job in a container`,
  );

function reason(error: unknown, path: string | undefined): string {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === "EACCES" || code === "EROFS" || code === "EPERM") return `${path} cannot be written (${code})`;
  return message;
}

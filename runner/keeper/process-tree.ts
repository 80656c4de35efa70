// Everything a job started on this machine, found again: by its control group, where there is one; by its process group;
// and by the marker in its environment, which also finds what left the group (setsid, double forks). One look misses a
// late fork, so looks are repeated until one finds nothing. Without a control group, a process that cleared its environment
// *and* left the process group is missed.
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { Ending, SignalName } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { hasEnded, processStat } from "../../protocol/process-stat.ts";
import { endingOf } from "./backends/ending.ts";
import type { ControlGroup } from "./cgroup.ts";

export const MARKER = "SORTIE_ATTEMPT_ID";
/** Of a command of a driven job, beside the job's own. */
export const COMMAND_MARKER = "SORTIE_COMMAND_ID";

/** After KILL the kernel needs a moment; what is still there then cannot be killed (uninterruptible sleep). */
const KILLED_WITHIN_MS = 5_000;
/** A process is between two programs for less; one that says nothing of itself for longer is not waited for. */
const EXEC_WITHIN_MS = 500;
/** Processes that are remembered while a tree is ended: one that forks without end has more. */
const MOST_SEEN = 10_000;

/** How the processes of one command are known. */
export interface Tree {
  /** What the environment of its processes holds: `NAME=VALUE`. */
  readonly mark: string;
  /** The process group that it leads. */
  readonly group: number;
  /** Where all that is in it is of the tree. */
  readonly control: ControlGroup | undefined;
}

interface Found {
  readonly pid: number;
  readonly name: string;
  readonly began: string;
  readonly group: number;
}

/** The processes of the tree that have not ended. Linux only; elsewhere the group's leader stands for all. */
function processesOf({ mark, group, control }: Tree): Found[] {
  if (process.platform !== "linux") return groupLives(group) ? [{ pid: group, name: "", began: "", group }] : [];
  const controlled = new Set(control?.members());
  return processIds().flatMap((pid) => {
    const stat = processStat(pid);
    if (!stat || hasEnded(stat) || pid === process.pid) return [];
    const isOurs = stat.group === group || controlled.has(pid) || environmentOf(pid).includes(`\0${mark}\0`);
    return isOurs ? [{ pid, name: stat.name, began: stat.began, group: stat.group }] : [];
  });
}

const processIds = (): number[] =>
  readFolder("/proc")
    .map(Number)
    .filter((pid) => Number.isInteger(pid));

interface Marked {
  readonly pids: readonly number[];
  /** Whether all processes could be told: a process between two programs may be marked, too. */
  readonly isAll: boolean;
}

/** The processes marked by one of the attempts. Linux only. */
function markedProcesses(attempts: ReadonlySet<string>): Marked {
  const pids: number[] = [];
  let isAll = true;
  for (const pid of processIds()) {
    if (pid === process.pid) continue;
    const environment = environmentOf(pid);
    if (environment === NO_VARIABLES && isInExec(pid)) isAll = false;
    const attempt = attemptOf(environment);
    if (attempt !== undefined && attempts.has(attempt)) pids.push(pid);
  }
  return { pids, isAll };
}

/** The attempt that a process of this environment belongs to. */
function attemptOf(environment: string): string | undefined {
  const needle = `\0${MARKER}=`;
  const at = environment.indexOf(needle);
  return at === -1 ? undefined : environment.slice(at + needle.length, environment.indexOf("\0", at + 1));
}

const NO_VARIABLES = "\0\0";

/** For a moment of its exec a process has neither arguments nor an environment. It may be over by now. */
function isInExec(pid: number): boolean {
  try {
    // The kernel's own processes, and those that have ended, are of no program.
    readlinkSync(`/proc/${pid}/exe`);
    return readFileSync(`/proc/${pid}/cmdline`).length === 0 || environmentOf(pid) !== NO_VARIABLES;
  } catch {
    return false;
  }
}

/** Each variable between two NULs; empty where it cannot be read. */
function environmentOf(pid: number): string {
  try {
    return `\0${readFileSync(`/proc/${pid}/environ`, "latin1")}\0`;
  } catch {
    return "";
  }
}

/** Whether anything of the group is left, zombies included. */
export const groupLives = (group: number): boolean => send(-group, 0);

/** Sends the signals, in their order, to the group and to every process of the tree outside it. */
export function signalTree(tree: Tree, ...signals: readonly SignalName[]): void {
  for (const signal of signals) send(-tree.group, signal);
  if (process.platform === "linux")
    for (const { pid, group } of processesOf(tree))
      if (group !== tree.group) for (const signal of signals) send(pid, signal);
  if (signals.includes("KILL")) tree.control?.kill();
}

/** TERM to the tree, KILL to what is left after the grace; resolves when nothing is left, or nothing more can be done. */
export async function killTree(tree: Tree, graceMs: number): Promise<Ending> {
  const seen = new Map<string, Found>();
  const ended: Ending["ended"] = [];
  let more = 0;
  /** Looks again; what is there no more was ended by what was sent before. */
  function look(by: "TERM" | "KILL"): boolean {
    const now = new Map(processesOf(tree).map((found) => [`${found.pid} ${found.began}`, found]));
    for (const [key, { pid, name }] of seen) {
      if (now.has(key)) continue;
      seen.delete(key);
      if (ended.length < limits.endedProcesses) ended.push({ pid, name, by });
      else more++;
    }
    for (const [key, found] of now) if (seen.size < MOST_SEEN) seen.set(key, found);
    return now.size > 0;
  }
  look("TERM");
  signalTree(tree, "TERM");
  const graceEnds = performance.now() + graceMs;
  for (let pause = 5; look("TERM") && performance.now() < graceEnds; pause = Math.min(pause * 2, 100))
    await delay(Math.min(pause, Math.max(1, graceEnds - performance.now())));
  const givesUp = performance.now() + KILLED_WITHIN_MS;
  for (let pause = 2; seen.size > 0 && performance.now() < givesUp; pause = Math.min(pause * 2, 100)) {
    signalTree(tree, "KILL");
    await delay(pause);
    look("KILL");
  }
  const left = [...seen.values()].map(({ pid, name }) => ({ pid, name }));
  return endingOf(ended, left, more);
}

/** KILL to the group, in one go. */
export const killGroupNow = (group: number): void => void send(-group, "KILL");

/** The processes of the group that have not ended. Linux only. */
const groupMembers = (group: number): number[] =>
  processIds().filter((pid) => {
    const stat = processStat(pid);
    return stat?.group === group && !hasEnded(stat);
  });

/** KILL to everything the attempts left behind, and to the group; repeated until a look finds nothing. */
export async function killMarked(attempts: ReadonlySet<string>, group?: number): Promise<void> {
  const began = performance.now();
  if (group !== undefined) killGroupNow(group);
  for (;;) {
    const { pids: marked, isAll } = markedProcesses(attempts);
    const pids = [...marked, ...(group === undefined ? [] : groupMembers(group))];
    for (const pid of pids) send(pid, "KILL");
    const lastedMs = performance.now() - began;
    if (pids.length === 0 && (isAll || lastedMs > EXEC_WITHIN_MS)) return;
    if (lastedMs > KILLED_WITHIN_MS) return;
    await delay(5);
  }
}

/** As killMarked, in one go: for a process that leaves now. */
export function killMarkedNow(attempts: ReadonlySet<string>): void {
  for (let looks = 0; looks < 20; looks++) {
    const { pids, isAll } = markedProcesses(attempts);
    if (pids.length === 0 && isAll) return;
    for (const pid of pids) send(pid, "KILL");
  }
}

function send(target: number, signal: SignalName | 0): boolean {
  try {
    return process.kill(target, signal === 0 ? 0 : (`SIG${signal}` as NodeJS.Signals));
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

function readFolder(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    return [];
  }
}

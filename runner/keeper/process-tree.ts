// Everything a job started on this machine, found again: by its control group, where there is one; by its process group;
// and by the marker in its environment, which also finds what left the group (setsid, double forks). One look misses a
// late fork, and the marker of what is just being executed cannot be read: so looks are repeated until one is sure that
// there is nothing. Without a control group, a process that cleared its environment *and* left the process group is missed.
import { readdirSync, readFileSync } from "node:fs";
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

/** One look at all processes. */
interface Looked {
  readonly found: readonly Found[];
  /** Those of which nobody can tell whose they are, as `keyOf` names them. */
  readonly unsure: readonly string[];
}

const keyOf = ({ pid, began }: Pick<Found, "pid" | "began">): string => `${pid} ${began}`;

/** The processes of the tree that have not ended. Linux only; elsewhere the group's leader stands for all. */
function processesOf({ mark, group, control }: Tree): Looked {
  if (process.platform !== "linux")
    return { found: groupLives(group) ? [{ pid: group, name: "", began: "", group }] : [], unsure: [] };
  const controlled = new Set(control?.members());
  const unsure: string[] = [];
  const found = processIds().flatMap((pid) => {
    const stat = processStat(pid);
    if (!stat || hasEnded(stat) || pid === process.pid) return [];
    const { name, began } = stat;
    const isKnown = stat.group === group || controlled.has(pid);
    const environment = isKnown || !stat.hasEnvironment ? "" : environmentOf(pid);
    if (environment === undefined) unsure.push(keyOf({ pid, began }));
    return isKnown || environment?.includes(`\0${mark}\0`) ? [{ pid, name, began, group: stat.group }] : [];
  });
  return { found, unsure };
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
    if (environment === undefined) isAll = false;
    const attempt = environment && attemptOf(environment);
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

/** Each variable between two NULs; empty where there is none for us, undefined in the middle of an exec, for a moment. */
function environmentOf(pid: number): string | undefined {
  try {
    const variables = readFileSync(`/proc/${pid}/environ`, "latin1");
    if (variables) return `\0${variables}\0`;
  } catch {
    return "";
  }
  return processStat(pid)?.hasEnvironment ? undefined : "";
}

/** Whether anything of the group is left, zombies included. */
export const groupLives = (group: number): boolean => send(-group, 0);

/** Sends the signals, in their order, to the group and to every process of the tree outside it. Gives who may have been missed. */
export function signalTree(tree: Tree, ...signals: readonly SignalName[]): readonly string[] {
  for (const signal of signals) send(-tree.group, signal);
  const { found, unsure } = processesOf(tree);
  for (const { pid, group } of found) if (group !== tree.group) for (const signal of signals) send(pid, signal);
  if (signals.includes("KILL")) tree.control?.kill();
  return unsure;
}

/** TERM to the tree, KILL to what is left after the grace; resolves when nothing is left, or nothing more can be done. */
export async function killTree(tree: Tree, graceMs: number): Promise<Ending> {
  const seen = new Map<string, Found>();
  const ended: Ending["ended"] = [];
  let more = 0;
  let missed: ReadonlySet<string> = new Set();
  let unsureSince: number | undefined;
  /** Looks again; what is there no more was ended by what was sent before. False once there surely is nothing. */
  function look(by: "TERM" | "KILL"): boolean {
    const { found, unsure } = processesOf(tree);
    const now = new Map(found.map((one) => [keyOf(one), one]));
    for (const [key, { pid, name }] of seen) {
      if (now.has(key) || unsure.includes(key)) continue;
      seen.delete(key);
      if (ended.length < limits.endedProcesses) ended.push({ pid, name, by });
      else more++;
    }
    for (const [key, one] of now) {
      if (seen.size < MOST_SEEN) seen.set(key, one);
      if (missed.has(key)) send(one.pid, "TERM");
    }
    missed = new Set(unsure.filter((key) => missed.has(key)));
    unsureSince = now.size > 0 ? undefined : (unsureSince ?? performance.now());
    if (unsureSince === undefined) return true;
    return unsure.length > 0 && performance.now() - unsureSince < EXEC_WITHIN_MS;
  }
  look("TERM");
  missed = new Set(signalTree(tree, "TERM"));
  const graceEnds = performance.now() + graceMs;
  let isLeft = look("TERM");
  for (let pause = 5; isLeft && performance.now() < graceEnds; pause = Math.min(pause * 2, 100)) {
    await delay(Math.min(pause, Math.max(1, graceEnds - performance.now())));
    isLeft = look("TERM");
  }
  const givesUp = performance.now() + KILLED_WITHIN_MS;
  for (let pause = 2; isLeft && performance.now() < givesUp; pause = Math.min(pause * 2, 100)) {
    signalTree(tree, "KILL");
    await delay(pause);
    isLeft = look("KILL");
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

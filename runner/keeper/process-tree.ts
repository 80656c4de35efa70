// Everything a job started, found again: by its process group, and by the marker in its environment, which also
// finds what left the group (setsid, double forks). One look misses a late fork, so looks are repeated until one
// finds nothing. A process that cleared its environment *and* left the group is missed; cgroups would find it, where
// they can be written.
import { readdirSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";
import type { SignalName } from "../../protocol/exit.ts";
import { hasEnded, processStat } from "../../protocol/process-stat.ts";

export const MARKER = "SORTIE_ATTEMPT_ID";

/** After KILL the kernel needs a moment; what is still there then cannot be killed (uninterruptible sleep). */
const KILLED_WITHIN_MS = 5_000;

/** The processes marked by one of the attempts. Linux only; elsewhere only the group is known. */
export function markedProcesses(attempts: ReadonlySet<string>): number[] {
  const found: number[] = [];
  for (const entry of readFolder("/proc")) {
    const pid = Number(entry);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const attempt = markOf(pid);
    if (attempt !== undefined && attempts.has(attempt)) found.push(pid);
  }
  return found;
}

/** The attempt that a process belongs to. */
export function markOf(pid: number): string | undefined {
  let environment: string;
  try {
    environment = readFileSync(`/proc/${pid}/environ`, "latin1");
  } catch {
    return undefined;
  }
  const needle = `${MARKER}=`;
  const at = environment.startsWith(needle) ? 0 : environment.indexOf(`\0${needle}`) + 1;
  if (at === 0 && !environment.startsWith(needle)) return undefined;
  const end = environment.indexOf("\0", at);
  return environment.slice(at + needle.length, end === -1 ? undefined : end);
}

/** Whether anything of the group is left, zombies included. */
export function groupLives(group: number): boolean {
  return send(-group, 0);
}

/** Whether anything of the group still runs: orphans that nobody reaped do not. */
function groupRuns(group: number): boolean {
  if (!groupLives(group)) return false;
  if (process.platform !== "linux") return true;
  return readFolder("/proc").some((entry) => {
    const stat = /^\d+$/.test(entry) ? processStat(Number(entry)) : undefined;
    return stat?.group === group && !hasEnded(stat);
  });
}

/** Sends the signals, in their order, to the group and to every marked process outside it. */
export function signalTree(attempt: string, group: number | undefined, ...signals: readonly SignalName[]): void {
  if (group !== undefined) for (const signal of signals) send(-group, signal);
  for (const pid of markedProcesses(new Set([attempt])))
    if (group === undefined || processStat(pid)?.group !== group) for (const signal of signals) send(pid, signal);
}

/** TERM to the tree, KILL to what is left after the grace; resolves when nothing is left, or nothing more can be done. */
export async function killTree(attempt: string, group: number | undefined, graceMs: number): Promise<void> {
  // The group is asked as well: `env -i` and `sudo` take the marker away, and TERM can be ignored.
  const left = (): boolean =>
    markedProcesses(new Set([attempt])).length > 0 || (group !== undefined && groupRuns(group));
  signalTree(attempt, group, "TERM");
  const graceEnds = performance.now() + graceMs;
  for (let pause = 5; left() && performance.now() < graceEnds; pause = Math.min(pause * 2, 100)) {
    await delay(Math.min(pause, Math.max(1, graceEnds - performance.now())));
  }
  const givesUp = performance.now() + KILLED_WITHIN_MS;
  for (let pause = 2; left() && performance.now() < givesUp; pause = Math.min(pause * 2, 100)) {
    signalTree(attempt, group, "KILL");
    await delay(pause);
  }
}

/** KILL to the group, in one go. */
export const killGroupNow = (group: number): void => void send(-group, "KILL");

/** KILL to everything the attempts left behind; repeated until a look finds nothing. */
export async function killMarked(attempts: ReadonlySet<string>): Promise<void> {
  const givesUp = performance.now() + KILLED_WITHIN_MS;
  for (;;) {
    const left = markedProcesses(attempts);
    for (const pid of left) send(pid, "KILL");
    if (left.length === 0 || performance.now() > givesUp) return;
    await delay(5);
  }
}

/** As killMarked, in one go: for a process that leaves now. */
export function killMarkedNow(attempts: ReadonlySet<string>): void {
  for (let looks = 0; looks < 20; looks++) {
    const left = markedProcesses(attempts);
    if (left.length === 0) return;
    for (const pid of left) send(pid, "KILL");
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

// What the kernel tells of a process: whether it has ended, its group, and when it began, which tells it from a later one
// of the same number. Locks, the keeper and the store ask.
import { readFileSync } from "node:fs";

export interface ProcessStat {
  /** R, S, D, Z, …: Z and X have ended, and wait to be reaped. */
  readonly state: string;
  /** Of the program, its first 15 characters. */
  readonly name: string;
  readonly parent: number;
  readonly group: number;
  /** In the kernel's own count since the machine came up. */
  readonly began: string;
  /**
   * Whether there may be variables to be read: not of the kernel's own, nor after `env -i`. While it is being made another
   * program it has them, and they read as none, at last with a beginning that is also their end, but with no code yet; who may
   * not read them is not told, either, that there are none.
   */
  readonly hasEnvironment: boolean;
}

/** Of proc_pid_stat(5); `undefined` on other platforms, and for a process that is gone. */
export function processStat(pid: number): ProcessStat | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The program's name may hold anything, also spaces and brackets: what counts stands behind its last one.
    const nameEnds = stat.lastIndexOf(")");
    const fields = stat.slice(nameEnds + 2).split(" ");
    return {
      name: stat.slice(stat.indexOf("(") + 1, nameEnds),
      state: fields[0] ?? "",
      parent: Number(fields[1]),
      group: Number(fields[2]),
      began: fields[19] ?? "",
      // The size of its memory, and where in it its code begins, and its variables begin and end.
      hasEnvironment: fields[20] !== "0" && (fields[23] === "0" || fields[47] === "0" || fields[47] !== fields[48]),
    };
  } catch {
    return undefined;
  }
}

export const hasEnded = ({ state }: Pick<ProcessStat, "state">): boolean => state === "Z" || state === "X";

let boot: string | undefined;
/** Another one after each start of the machine. */
export function bootId(): string {
  try {
    boot ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    boot = "unknown";
  }
  return boot;
}

// Tells a process that lives from one that is gone, and from another that was given its number later. The store
// keeps both for each run, so that a run whose coordinator was killed is never shown as running.
import { readFileSync } from "node:fs";

/** When a process started, in the kernel's own count (proc_pid_stat(5), field 22); empty where it is gone. */
export function processStarted(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // The program's name may hold anything, also spaces and brackets: what counts stands behind its last one.
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
  } catch {
    if (process.platform === "linux") return "";
  }
  try {
    process.kill(pid, 0);
    return "alive";
  } catch {
    return "";
  }
}

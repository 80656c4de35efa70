// Tells a process that lives from one that is gone, and from another that was given its number later. The store
// keeps both for each run, so that a run whose coordinator was killed is never shown as running.
import { isAlive } from "../../protocol/lock.ts";
import { processStat } from "../../protocol/process-stat.ts";

/** When a process started, in the kernel's own count; empty where it is gone. */
export function processStarted(pid: number): string {
  const stat = processStat(pid);
  if (stat) return stat.began;
  // Elsewhere there is no count.
  return process.platform !== "linux" && isAlive(pid) ? "alive" : "";
}

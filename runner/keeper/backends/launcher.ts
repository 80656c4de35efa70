// Programs, each with its arguments, that set a command's rights and priority and then become the command: what comes
// behind them is run as it is, by execvp(3).
import type { ControlGroup } from "../cgroup.ts";
import type { Account } from "./account.ts";
import { Refused } from "./backend.ts";
import { isExecutable, onPath } from "./refusal.ts";

/** Throws Refused where the system has no such program. */
export function launcherOf(
  account: Account | undefined,
  nice: number | undefined,
  limited: ControlGroup | undefined,
): string[] {
  const launcher: string[] = [];
  // It has to be within its limits before it begins.
  if (limited) launcher.push("/bin/sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', limited.path);
  // The tool itself would say so on the job's stderr, and go on.
  if (nice !== undefined && nice < 0 && process.getuid?.() !== 0)
    throw new Refused("spawn", "only a runner that root started can run a job with a niceness below 0");
  if (nice !== undefined) launcher.push(tool("nice"), "-n", String(nice));
  if (account) {
    const groups = account.name === undefined ? "--clear-groups" : "--init-groups";
    launcher.push(tool("setpriv"), `--reuid=${account.uid}`, `--regid=${account.gid}`, groups, "--");
  }
  return launcher;
}

/** By the runner's own PATH: the job's may be anything. */
function tool(name: string): string {
  const path = onPath(name, process.env["PATH"] || "/usr/bin:/bin", process.cwd()).find(isExecutable);
  if (path === undefined) throw new Refused("spawn", `the runner's machine has no ${name}, which this job needs`);
  return path;
}

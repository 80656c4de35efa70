// Which process group a job leads, for the keeper after one that was killed: a process that cleared its environment has no
// other mark. Kept as the target of a symbolic link beside the working directory: it is there whole, or not at all.
import { readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { AttemptId } from "../../protocol/ids.ts";
import { processStat } from "../../protocol/process-stat.ts";
import { killGroupNow } from "./process-tree.ts";

const ENDING = ".group";

/** Replaces what an earlier step of the job left. */
export function rememberGroup(work: string, attemptId: AttemptId, group: number): void {
  const path = join(work, attemptId + ENDING);
  try {
    rmSync(path, { force: true });
    symlinkSync(`${group} ${processStat(group)?.began ?? ""} ${boot()}`, path);
  } catch {
    // A full disk: the marks in the environments are left.
  }
}

export const forgetGroup = (work: string, attemptId: AttemptId): void =>
  rmSync(join(work, attemptId + ENDING), { force: true });

/** KILL to every group that is remembered, and forgets them. */
export function killRemembered(work: string): void {
  for (const name of readdirSync(work)) {
    if (!name.endsWith(ENDING)) continue;
    const path = join(work, name);
    const [group, start, booted] = readlinkSync(path).split(" ");
    // Its leader may be gone, and then nobody gets its number while others of the group live; but a leader that began
    // at another time, or on another day, is somebody else.
    const now = processStat(Number(group))?.began;
    if (Number(group) > 1 && booted === boot() && (now === undefined || now === start)) killGroupNow(Number(group));
    rmSync(path, { force: true });
  }
}

let bootId: string | undefined;
function boot(): string {
  try {
    bootId ??= readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
  } catch {
    bootId = "unknown";
  }
  return bootId;
}

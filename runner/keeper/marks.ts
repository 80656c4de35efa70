// What a keeper after one that died needs to end what a job left: a line that the job's backend wrote, kept until the job
// is cleaned up. It is the target of a symbolic link beside the working directory: there whole, or not at all.
import { readdirSync, readlinkSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { AttemptId } from "../../protocol/ids.ts";

const ENDING = ".mark";

/** Replaces what was there. */
export function setMark(work: string, attemptId: AttemptId, text: string): void {
  const path = join(work, attemptId + ENDING);
  try {
    rmSync(path, { force: true });
    symlinkSync(text, path);
  } catch {
    // A full disk: the marks in the processes' environments are left.
  }
}

export const removeMark = (work: string, attemptId: AttemptId): void =>
  rmSync(join(work, attemptId + ENDING), { force: true });

export const findMarks = (work: string): Map<AttemptId, string> =>
  new Map(
    readdirSync(work)
      .filter((name) => name.endsWith(ENDING))
      .map((name) => [name.slice(0, -ENDING.length) as AttemptId, readlinkSync(join(work, name))]),
  );

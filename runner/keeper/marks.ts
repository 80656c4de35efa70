// What a keeper after one that died needs to end what a job left: a line that the job's backend wrote, kept until the job
// is cleaned up. It is the target of a symbolic link beside the working directory: there whole, or not at all.
import { existsSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { AttemptId } from "../../protocol/ids.ts";

const ENDING = ".mark";

/** Replaces what was there at once; where it cannot, that stays, and this throws. */
export function setMark(work: string, attemptId: AttemptId, text: string): void {
  const path = join(work, attemptId + ENDING);
  rmSync(`${path}.new`, { force: true });
  symlinkSync(text, `${path}.new`);
  renameSync(`${path}.new`, path);
}

export const removeMark = (work: string, attemptId: AttemptId): void =>
  rmSync(join(work, attemptId + ENDING), { force: true });

export const findMarks = (work: string): Map<AttemptId, string> =>
  new Map(
    readdirSync(work)
      .filter((name) => name.endsWith(ENDING))
      .map((name) => [name.slice(0, -ENDING.length) as AttemptId, readlinkSync(join(work, name))]),
  );

/** Whether jobs of the keeper's folder left something that is not ended yet. */
export const isMarked = (folder: string): boolean =>
  existsSync(join(folder, "work")) && findMarks(join(folder, "work")).size > 0;

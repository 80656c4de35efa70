// What a keeper after one that died needs to end what a job left: a line that the job's backend wrote, kept until the job
// is cleaned up. It is the target of a symbolic link beside the working directory: there whole, or not at all.
import { existsSync, readdirSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import type { AttemptId } from "../../protocol/ids.ts";

const ENDING = ".mark";
/** A mark that was not in its place yet: nothing was made by then that needs it. */
const UNFINISHED = `${ENDING}.new`;

/** Replaces what was there at once; where it cannot, that stays, and this throws. */
export function setMark(work: string, attemptId: AttemptId, text: string): void {
  const unfinished = join(work, attemptId + UNFINISHED);
  rmSync(unfinished, { force: true });
  symlinkSync(text, unfinished);
  renameSync(unfinished, join(work, attemptId + ENDING));
}

/** Those of a keeper that was killed while it wrote them. */
export function removeUnfinishedMarks(work: string): void {
  for (const name of readdirSync(work)) if (name.endsWith(UNFINISHED)) rmSync(join(work, name), { force: true });
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

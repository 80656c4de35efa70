// Rejections that nobody handles, and whose they are. command-line.ts asks before it ends the process for one; the
// coordinator's floating.ts takes those of a job's function.

/** Says whether the rejection is its own, and then has seen to it. Called in the rejection's own async context. */
export type RejectionTaker = (reason: unknown) => boolean;

const takers: RejectionTaker[] = [];

/** For as long as the process lives. */
export function takeRejections(taker: RejectionTaker): void {
  takers.push(taker);
}

export const isTaken = (reason: unknown): boolean => takers.some((taker) => taker(reason));

// Files that are read again where their stamp (inode, times, size) changed: one that changes twice within one step of the
// file system's clock may have the same stamp again.

/** No file system's clock has longer steps. */
const STEP_MS = 2_500;

/** Whether another change could still have this time, in milliseconds: until it is over only the content tells. */
export const mayBeSameStep = (changedMs: bigint): boolean => Math.abs(Date.now() - Number(changedMs)) < STEP_MS;

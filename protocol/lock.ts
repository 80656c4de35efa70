// Locks between processes, as files that hold the owner's process id: a short one around a read-modify-write, and
// one that a runner holds on its folder for as long as it lives. A lock whose owner is gone is taken over.
import { linkSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SortieError } from "./errors.ts";
import { privateFolder } from "./home.ts";

/** The longest a read-modify-write may keep others waiting. */
const WAIT_MS = 5_000;

/** Holds the folder until the function it gives is called. Throws STATE_LOCKED naming the process that has it. */
export function lockFolder(folder: string): () => void {
  const path = join(privateFolder(folder), "lock");
  const owner = take(path);
  if (owner !== undefined) throw new SortieError("STATE_LOCKED", `The process ${owner} uses ${folder}.`);
  return () => rmSync(path, { force: true });
}

/** Runs `change` while no other process runs one on the same path. */
export function locked<T>(path: string, change: () => T): T {
  const lock = `${path}.lock`;
  const givesUp = Date.now() + WAIT_MS;
  for (let owner = take(lock); owner !== undefined; owner = take(lock)) {
    if (Date.now() > givesUp) throw new SortieError("STATE_LOCKED", `The process ${owner} holds ${lock}.`);
    // Held for less than a millisecond by whoever has it; a synchronous pause keeps the change one piece.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2);
  }
  try {
    return change();
  } finally {
    rmSync(lock, { force: true });
  }
}

/** Takes the lock; gives the living process that has it already. */
function take(path: string): number | undefined {
  const own = `${path}.${process.pid}`;
  writeFileSync(own, String(process.pid), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // A link appears whole, with its content: nobody ever reads an empty lock.
        linkSync(own, path);
        return undefined;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const owner = ownerOf(path);
      if (owner !== undefined && owner !== process.pid && isAlive(owner)) return owner;
      try {
        unlinkSync(path);
      } catch {
        // Someone else removed it first.
      }
    }
  } finally {
    rmSync(own, { force: true });
  }
}

function ownerOf(path: string): number | undefined {
  try {
    return Number(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** Whether the process exists, also when it belongs to somebody else. */
export function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

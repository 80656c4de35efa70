// Locks between processes, as files that name their owner: a short one around a read-modify-write, and one that a
// runner holds on its folder for as long as it lives. A lock whose owner is gone is taken over.
import { linkSync, readFileSync, rmSync, unlinkSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import { SortieError } from "./errors.ts";
import { privateFolder, unusable } from "./home.ts";
import { hasEnded, processStat } from "./process-stat.ts";

/** The longest a read-modify-write waits for one other; each of them takes milliseconds. */
const WAIT_MS = 5_000;
/** And for all: on a busy machine the lock may go from hand to hand for a while before it is this process's turn. */
const MOST_WAIT_MS = 30_000;

let takes = 0;

/** What this process holds: its own process id in a lock says nothing, where a container gives everyone the same. */
const held = new Set<string>();

/** Holds the folder until the function it gives is called. Throws STATE_LOCKED naming the process that has it. */
export function lockFolder(folder: string): () => void {
  const path = resolve(privateFolder(folder), "lock");
  const owner = take(path);
  if (owner !== undefined) throw new SortieError("STATE_LOCKED", `The process ${owner} uses ${folder}.`);
  let released = false;
  return () => {
    // Once: by the second time it may be somebody else's.
    if (!released) release(path);
    released = true;
  };
}

/** The living process that holds the folder; `undefined` where none does. */
export function folderOwner(folder: string): number | undefined {
  const path = resolve(folder, "lock");
  const owner = ownerOf(path);
  return owner && holds(owner, path) ? owner.pid : undefined;
}

/**
 * Runs `change` while no other process runs one on the same path. Waits by blocking the thread, so that the change
 * stays one piece for this process too. Throws STATE_LOCKED where one keeps it for five seconds.
 */
export function locked<T>(path: string, change: () => T): T {
  const lock = resolve(`${path}.lock`);
  const began = Date.now();
  let seen: string | undefined;
  let since = began;
  for (let owner = take(lock); owner !== undefined; owner = take(lock)) {
    const now = Date.now();
    const text = textOf(lock);
    if (text !== seen) since = now;
    seen = text;
    if (now - since > WAIT_MS || now - began > MOST_WAIT_MS)
      throw new SortieError("STATE_LOCKED", `The process ${owner} holds ${lock}.`);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1 + Math.random() * 3);
  }
  try {
    return change();
  } finally {
    release(lock);
  }
}

/** Takes the lock; gives the living process that has it already, or that is just taking it over. */
function take(path: string): number | undefined {
  if (held.has(path)) return process.pid;
  const own = `${path}.${process.pid}`;
  try {
    // It may be left from a process of the same number, and be one file with the lock: never write into it.
    rmSync(own, { force: true });
    // The last word tells one time that it is held from the next.
    const text = `${process.pid} ${processStat(process.pid)?.began ?? ""} ${++takes}`;
    writeFileSync(own, text, { mode: 0o600, flag: "wx" });
    for (;;) {
      try {
        // A link appears whole, with its content: nobody ever reads the lock of a living process half written.
        linkSync(own, path);
        held.add(path);
        return undefined;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
      }
      const owner = ownerOf(path);
      // Released meanwhile. Removing it to be sure would remove the lock of whoever was faster.
      if (!owner) continue;
      if (holds(owner, path)) return owner.pid;
      const remover = removeStale(path);
      if (remover !== undefined) return remover;
    }
  } catch (error) {
    throw unusable(path, error);
  } finally {
    dropOwn(own);
  }
}

/** Where nothing can be written there is nothing to remove; what went wrong before is what counts. */
function dropOwn(own: string): void {
  try {
    rmSync(own, { force: true });
  } catch {}
}

/**
 * Looking whether a lock is stale and removing it are two steps; between them another process may have taken it over,
 * and would lose a good lock. So both happen under a second lock, which is taken in the same way.
 */
function removeStale(path: string): number | undefined {
  const guard = `${path}.stale`;
  const remover = take(guard);
  if (remover !== undefined) return remover;
  try {
    const owner = ownerOf(path);
    if (!owner || holds(owner, path)) return undefined;
    unlinkSync(path);
    // What it was killed with in its hands. A living process may be just about to use its own.
    if (!isAlive(owner.pid)) rmSync(`${path}.${owner.pid}`, { force: true });
    return undefined;
  } finally {
    release(guard);
  }
}

function release(path: string): void {
  if (held.delete(path)) rmSync(path, { force: true });
}

interface Owner {
  /** NaN where the lock says nothing, as after a power failure. */
  readonly pid: number;
  /** Tells it from a later process of the same number; empty where the platform does not tell. */
  readonly began: string;
}

/** Whom the lock names; `undefined` where there is no lock. */
function ownerOf(path: string): Owner | undefined {
  const text = textOf(path);
  if (text === undefined) return undefined;
  const [pid, began = ""] = text.split(" ");
  return { pid: Number.parseInt(pid ?? "", 10), began };
}

function textOf(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function holds({ pid, began }: Owner, path: string): boolean {
  if (pid === process.pid) return held.has(path);
  if (!isAlive(pid)) return false;
  const stat = processStat(pid);
  if (!stat) return true;
  return !hasEnded(stat) && (began === "" || began === stat.began);
}

/** Whether the process exists, also when it belongs to somebody else. */
export function isAlive(pid: number): boolean {
  // Zero and less are groups of processes to kill(2).
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

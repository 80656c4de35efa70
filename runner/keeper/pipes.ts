// Real pipes for a job's stdin, stdout and stderr. Node's own `stdio: "pipe"` is a socket pair, which cannot be
// opened again: `echo x > /dev/stderr` would fail in a job. Node has no pipe(2), so a pipe is a FIFO that is opened
// at both ends and unlinked at once; FIFOs are made in batches, because that takes a process.
import { closeSync, constants, openSync, rmSync } from "node:fs";
import { Socket } from "node:net";
import { join } from "node:path";
import { execa } from "execa";
import { privateFolder } from "../../protocol/home.ts";

const BATCH = 64;
const REFILL_BELOW = 32;

export interface OutputPipe {
  readonly reader: Socket;
  /** For the child; close it here once the child has it. */
  readonly childEnd: number;
}

export interface InputPipe {
  readonly writer: Socket;
  readonly childEnd: number;
  /** Once the process is gone. */
  release(): void;
}

export interface PipePool {
  /** Makes the first ones, so that no command has to wait for them. Where that fails, it is tried again by who needs one. */
  fill(): void;
  output(): Promise<OutputPipe>;
  input(): Promise<InputPipe>;
  close(): Promise<void>;
}

/** Refers to a file without opening it (open(2)); Node does not name it. */
const O_PATH = 0o10000000;
const LET_IN_EVERY_MS = 20;
const LET_IN_AT_MOST_EVERY_MS = 1_000;

/**
 * Unlike a pipe, a FIFO keeps whoever opens it for reading waiting while nobody has it open for writing: a job that
 * opens /dev/stdin after the end of its stdin would hang. So from then on the writing end is opened and closed again
 * now and then, which lets such a reader in, to find the end. Gives the function that stops it.
 */
function letReadersIn(writer: Socket, inode: number | undefined): () => void {
  if (inode === undefined) return () => {};
  let pause = LET_IN_EVERY_MS;
  let timer: NodeJS.Timeout | undefined;
  let released = false;
  const letIn = (): void => {
    try {
      closeSync(openSync(`/proc/self/fd/${inode}`, constants.O_WRONLY | constants.O_NONBLOCK));
    } catch {
      // ENXIO: nobody has it open for reading.
    }
    pause = Math.min(pause * 1.5, LET_IN_AT_MOST_EVERY_MS);
    timer = setTimeout(letIn, pause);
  };
  writer.once("close", () => {
    if (!released) timer = setTimeout(letIn, pause);
  });
  return () => {
    if (released) return;
    released = true;
    clearTimeout(timer);
    closeSync(inode);
  };
}

/** Opens a FIFO once for each of the flags and unlinks it; where one fails, those before it are closed again. */
function openEnds<const Flags extends readonly number[]>(
  path: string,
  flags: Flags,
): { -readonly [Index in keyof Flags]: number } {
  const ends: number[] = [];
  try {
    for (const flag of flags) ends.push(openSync(path, flag));
  } catch (error) {
    for (const end of ends) closeSync(end);
    throw error;
  } finally {
    rmSync(path, { force: true });
  }
  return ends as { -readonly [Index in keyof Flags]: number };
}

/** A pool of FIFOs in a folder of its own, which close() removes; what a pool that crashed left there goes first. */
export function pipePool(folder: string): PipePool {
  // Names have the process id in them, and a runner that is started anew in its container has the same one again.
  // A mkfifo of one that was killed a moment ago may still make some.
  rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
  privateFolder(folder);
  const spare: string[] = [];
  let made = 0;
  let refilling: Promise<void> | undefined;

  function refill(): Promise<void> {
    refilling ??= (async () => {
      const paths = Array.from({ length: BATCH }, () => join(folder, `${process.pid}-${made++}`));
      // Somebody may have cleaned up a folder for temporary files.
      privateFolder(folder);
      const { failed, stderr } = await execa("mkfifo", ["-m", "600", ...paths], { reject: false });
      if (failed) throw new Error(`no pipe could be made in ${folder}: ${stderr.split("\n")[0]}`);
      spare.push(...paths);
    })().finally(() => {
      refilling = undefined;
    });
    return refilling;
  }

  async function take(): Promise<string> {
    if (spare.length < REFILL_BELOW) {
      const more = refill();
      if (spare.length === 0) await more;
      else more.catch(() => {});
    }
    return spare.shift() ?? take();
  }

  return {
    fill: () => void refill().catch(() => {}),
    async output() {
      const path = await take();
      const [ours, childEnd] = openEnds(path, [constants.O_RDONLY | constants.O_NONBLOCK, constants.O_WRONLY]);
      return { reader: new Socket({ fd: ours, readable: true, writable: false }), childEnd };
    },
    async input() {
      const path = await take();
      // The child's end must block, so it cannot be the one that lets our end be opened.
      const [holder, ours, childEnd, inode] = openEnds(path, [
        constants.O_RDONLY | constants.O_NONBLOCK,
        constants.O_WRONLY | constants.O_NONBLOCK,
        constants.O_RDONLY,
        ...(process.platform === "linux" ? [O_PATH] : []),
      ]);
      closeSync(holder);
      const writer = new Socket({ fd: ours, readable: false, writable: true });
      return { writer, childEnd, release: letReadersIn(writer, inode) };
    },
    async close() {
      await refilling?.catch(() => {});
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

// Real pipes for a job's stdin, stdout and stderr. Node's own `stdio: "pipe"` is a socket pair, which cannot be
// opened again: `echo x > /dev/stderr` would fail in a job. Node has no pipe(2), so a pipe is a FIFO that is opened
// at both ends and unlinked at once; FIFOs are made in batches, because that takes a process.
import { closeSync, constants, openSync, rmSync, unlinkSync } from "node:fs";
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
}

export interface PipePool {
  output(): Promise<OutputPipe>;
  input(): Promise<InputPipe>;
  close(): Promise<void>;
}

/** A pool of FIFOs in a folder of its own, which close() removes. */
export function pipePool(folder: string): PipePool {
  privateFolder(folder);
  const spare: string[] = [];
  let made = 0;
  let refilling: Promise<void> | undefined;

  function refill(): Promise<void> {
    refilling ??= (async () => {
      const paths = Array.from({ length: BATCH }, () => join(folder, `${process.pid}-${made++}`));
      await execa("mkfifo", ["-m", "600", ...paths]);
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
    async output() {
      const path = await take();
      const ours = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const childEnd = openSync(path, constants.O_WRONLY);
      unlinkSync(path);
      return { reader: new Socket({ fd: ours, readable: true, writable: false }), childEnd };
    },
    async input() {
      const path = await take();
      // The child's end must block, so it cannot be the one that lets our end be opened.
      const holder = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
      const ours = openSync(path, constants.O_WRONLY | constants.O_NONBLOCK);
      const childEnd = openSync(path, constants.O_RDONLY);
      closeSync(holder);
      unlinkSync(path);
      return { writer: new Socket({ fd: ours, readable: false, writable: true }), childEnd };
    },
    async close() {
      await refilling?.catch(() => {});
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

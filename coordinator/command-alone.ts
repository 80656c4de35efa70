// Commands of the coordinator's own machine, whose outputs are read: what one leaves behind may hold those for ever. secrets.ts and
// deliver.ts start such commands.
import type { ChildProcess } from "node:child_process";
import type { Readable } from "node:stream";
import { limits } from "../protocol/limits.ts";

/** Of execa. */
interface Child extends PromiseLike<unknown> {
  readonly nodeChildProcess: ChildProcess;
}

/** Whoever awaits the command waits for it alone: once it exited, its outputs are read for a moment more. */
export function awaitAlone(child: Child, outputs: readonly Readable[]): void {
  child.nodeChildProcess.once("exit", () => {
    const drained = setTimeout(() => {
      for (const output of outputs) output.destroy();
    }, limits.drainQuietMs);
    const over = (): void => clearTimeout(drained);
    child.then(over, over);
  });
}

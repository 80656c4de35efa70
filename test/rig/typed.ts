// What was typed at a terminal before anybody read it.
import { Readable } from "node:stream";
import { setImmediate as turn } from "node:timers/promises";

/** Gives one line a turn of the event loop, as a terminal does; it stays open. */
export function typed(lines: readonly string[]): NodeJS.ReadStream {
  const left = [...lines];
  const input = new Readable({
    async read() {
      await turn();
      const line = left.shift();
      if (line !== undefined) this.push(line);
    },
  });
  return input as unknown as NodeJS.ReadStream;
}

/** Nothing else of this process happens meanwhile. */
export const holdUp = (ms: number): unknown => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

import { describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { stdinQueue } from "../../runner/keeper/stdin-queue.ts";
import { heldAfter } from "./held.ts";

describe("a queue of stdin", () => {
  it("writes everything once and in order, whatever the sizes, and ends behind the last write", async () => {
    const seen: Uint8Array[] = [];
    const pieces = Array.from({ length: 3_000 }, (_, index) => {
      const length = [1, 7, 300, 16 * 1024, 40_000][index % (index % 3 === 0 ? 5 : 2)] ?? 1;
      return Buffer.alloc(length, index % 251);
    });
    let written = 0;
    await new Promise<void>((resolve) => {
      const queue = stdinQueue({
        async write(bytes) {
          seen.push(bytes);
          // Some are taken at once and some later, as by a pipe.
          if (seen.length % 3 === 0) await new Promise((taken) => setImmediate(taken));
        },
        onWritten(length) {
          written += length;
        },
        end: resolve,
      });
      for (const piece of pieces) queue.push(piece);
      queue.end();
    });
    const all = Buffer.concat(pieces);
    expect(Buffer.compare(Buffer.concat(seen), all)).toBe(0);
    expect(seen.length).toBeLessThan(pieces.length);
    await new Promise((resolve) => setImmediate(resolve));
    expect(written).toBe(all.length);
  });

  it("ends at once where nothing came", () => {
    let ends = 0;
    const queue = stdinQueue({
      write: () => expect.unreachable(),
      onWritten: () => expect.unreachable(),
      end: () => ends++,
    });
    queue.end();
    queue.end();
    expect(ends).toBe(1);
  });

  it("costs about what it holds while the process does not read, also for a window of single bytes", () => {
    expect(
      heldAfter(() => {
        const queue = stdinQueue({ write: () => new Promise(() => {}), onWritten: () => {}, end: () => {} });
        for (let index = 0; index < limits.window; index++) queue.push(Buffer.from("x"));
        return queue;
      }),
    ).toBeLessThan(3 * limits.window);
  });

  it("drops what comes after the job was forgotten", async () => {
    let writes = 0;
    const queue = stdinQueue({
      write() {
        writes++;
        return Promise.reject(new Error("forgotten"));
      },
      onWritten: () => expect.unreachable(),
      end: () => expect.unreachable(),
    });
    queue.push(Buffer.from("x"));
    await new Promise((resolve) => setImmediate(resolve));
    queue.push(Buffer.from("y"));
    queue.end();
    expect(writes).toBe(1);
  });
});

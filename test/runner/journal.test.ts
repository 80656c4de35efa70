import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeChunk, STDERR, STDOUT } from "../../protocol/chunk.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { Journal } from "../../runner/keeper/journal.ts";
import { heldAfter, heldNow } from "./held.ts";

const never = (): boolean => false;

/** Bytes that tell where they stand. */
const bytesAt = (offset: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (offset + index) % 251);

describe("a journal", () => {
  it("gives what was appended, however it was cut, read and acknowledged", async () => {
    const length = fc.oneof(
      fc.integer({ min: 1, max: 40 }),
      fc.integer({ min: 1, max: 20_000 }),
      fc.integer({ min: 16_000, max: 70_000 }),
    );
    const act = fc.oneof(
      fc.record({ append: length }),
      fc.record({ read: fc.integer({ min: 1, max: 100_000 }) }),
      fc.record({ acknowledge: fc.double({ min: 0, max: 1, noNaN: true }) }),
    );
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 60 }), async (acts) => {
        const journal = new Journal();
        let at = 0;
        let acknowledged = 0;
        const read = async (from: number, most: number): Promise<number> => {
          const bytes = Buffer.concat((await journal.read(from, most, never)) ?? []);
          expect(bytes.length).toBeGreaterThan(0);
          expect(bytes.length).toBeLessThanOrEqual(most);
          expect(Buffer.compare(bytes, bytesAt(from, bytes.length))).toBe(0);
          return bytes.length;
        };
        for (const one of acts) {
          if ("append" in one) journal.append(bytesAt(journal.end, one.append));
          else if ("read" in one) at += at < journal.end ? await read(at, one.read) : 0;
          else {
            acknowledged = Math.max(acknowledged, Math.floor(one.acknowledge * at));
            journal.acknowledge(acknowledged);
            if (acknowledged < journal.end) await read(acknowledged, 1);
          }
        }
        journal.close();
        while (at < journal.end) at += await read(at, 65_536);
        expect(await journal.read(at, 1, never)).toBeUndefined();
      }),
      { numRuns: 200 },
    );
  });

  it("is full at the largest window, and has room again once that is acknowledged", async () => {
    const journal = new Journal();
    while (!journal.full) journal.append(new Uint8Array(limits.writtenChunkBytes));
    expect(journal.end).toBe(limits.windowMaximum);
    let room = false;
    const waiting = journal.room().then(() => {
      room = true;
    });
    journal.acknowledge(0);
    await Promise.resolve();
    expect(room).toBe(false);
    journal.acknowledge(1);
    await waiting;
  });

  it("costs about what it holds, also when a process writes byte by byte", () => {
    const letter = Buffer.from("x");
    expect(
      heldAfter(() => {
        const journal = new Journal();
        while (!journal.full) journal.appendData(STDOUT, letter);
        return journal;
      }),
    ).toBeLessThan(3 * limits.windowMaximum);
  });

  it("costs about what it holds where small and large chunks alternate", () => {
    const large = 8 * 1024;
    expect(
      heldAfter(() => {
        const journal = new Journal();
        while (!journal.full) {
          journal.append(Uint8Array.of(3, 0, 0, 0, 1, 48));
          journal.appendData(STDERR, Buffer.alloc(large));
        }
        return journal;
      }),
    ).toBeLessThan(3 * limits.windowMaximum);
  });

  it("holds no more for being read and acknowledged line by line for long", async () => {
    const journal = new Journal();
    const line = Buffer.from("a line\n");
    let at = 0;
    const follow = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        journal.appendData(STDOUT, line);
        for (const piece of (await journal.read(at, 1_000, never)) ?? []) at += piece.length;
        journal.acknowledge(at);
      }
    };
    await follow(100);
    const before = heldNow();
    await follow(100_000);
    expect(heldNow() - before).toBeLessThan(1024 * 1024);
  });

  it("makes of data what the codec makes of it", async () => {
    for (const length of [1, 100, 8_191, 8_192, 70_000]) {
      const journal = new Journal();
      const payload = bytesAt(0, length);
      journal.appendData(STDERR, payload);
      const written = Buffer.concat((await journal.read(0, 100_000, never)) ?? []);
      expect(Buffer.compare(written, encodeChunk(STDERR, payload))).toBe(0);
    }
  });

  it("never changes bytes that a reader has", async () => {
    const journal = new Journal();
    journal.append(bytesAt(0, 10));
    const first = (await journal.read(0, 100, never)) ?? [];
    for (let round = 0; round < 1_000; round++) journal.append(bytesAt(journal.end, 10));
    expect(Buffer.compare(Buffer.concat(first), bytesAt(0, 10))).toBe(0);
  });

  it("tells that an offset is gone, as a coded error", async () => {
    const journal = new Journal();
    for (let round = 0; round < 4; round++) journal.append(new Uint8Array(64 * 1024));
    journal.acknowledge(128 * 1024);
    await expect(journal.read(0, 1, never)).rejects.toMatchObject({ code: "NOT_FOUND" } satisfies Partial<SortieError>);
  });

  it("wakes a reader that was stopped", async () => {
    const journal = new Journal();
    let stopped = false;
    const reading = journal.read(0, 1, () => stopped);
    stopped = true;
    journal.nudge();
    expect(await reading).toBeUndefined();
  });
});

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { limits } from "../../protocol/limits.ts";
import type { JournalControl } from "../../protocol/messages.ts";
import { diskBudget } from "../../runner/keeper/disk-budget.ts";
import { Journal, type JournalReader } from "../../runner/keeper/journal.ts";
import { findSegments, Segments } from "../../runner/keeper/segments.ts";
import { testFolder } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";
import { codeOf } from "./calls.ts";
import { heldAfter, heldNow } from "./held.ts";
import { contentsOf, readTo, type TestJournal, testJournal } from "./journals.ts";

/** Bytes that tell where they stand. */
const bytesAt = (offset: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (offset + index) % 251);
const mark = (at: number): JournalControl => ({ type: "mark", at });
const exit = (code = 0): JournalControl => ({
  type: "exit",
  reason: "exited",
  code,
  bytes: { stdout: 0, stderr: 0 },
});

/** What a journal must hold, made by the codec. */
class Expected {
  readonly chunks: Uint8Array[] = [];
  add(chunk: Uint8Array): void {
    this.chunks.push(chunk);
  }
  get bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }
}

describe("a journal", () => {
  it("gives every reader exactly the bytes, however they were appended, acknowledged, read and kept", async () => {
    const length = fc.oneof(
      { weight: 4, arbitrary: fc.integer({ min: 1, max: 40 }) },
      { weight: 2, arbitrary: fc.integer({ min: 1, max: 20_000 }) },
      { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 140_000 }) },
    );
    const part = fc.double({ min: 0, max: 1, noNaN: true });
    const act = fc.oneof(
      { weight: 6, arbitrary: fc.record({ append: length, stream: fc.constantFrom(STDOUT, STDERR) }) },
      { weight: 1, arbitrary: fc.record({ control: fc.nat(10 ** 12) }) },
      { weight: 3, arbitrary: fc.record({ read: fc.nat(9), most: fc.integer({ min: 1, max: 200_000 }) }) },
      { weight: 1, arbitrary: fc.record({ newReader: part }) },
      { weight: 1, arbitrary: fc.record({ closeReader: fc.nat(9) }) },
      { weight: 1, arbitrary: fc.record({ acknowledge: part }) },
      { weight: 2, arbitrary: fc.constant({ turn: true as const }) },
      // Memory is short, or is not: what is kept then is another thing, what is read is not.
      { weight: 1, arbitrary: fc.record({ short: fc.boolean() }) },
    );
    const folder = testFolder();
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 80 }), async (acts) => {
        const disk = diskBudget(
          () => {},
          () => {},
        );
        // A few chunks make a segment.
        Object.defineProperty(disk, "segmentBytes", { value: 100_000 });
        const { journal, attemptId } = testJournal({}, folder, disk);
        const expected = new Expected();
        const readers: { reader: JournalReader; at: number; got: Buffer[]; from: number }[] = [];
        let elsewhere = 0;
        const open = (from: number) => readers.push({ reader: journal.read(from), at: from, got: [], from });
        open(0);
        for (const one of acts) {
          if ("append" in one) {
            const payload = bytesAt(journal.end, one.append);
            journal.appendData(one.stream, payload);
            expected.add(encodeChunk(one.stream, payload));
          } else if ("control" in one) {
            journal.appendControl(mark(one.control));
            expected.add(encodeControl(mark(one.control)));
          } else if ("read" in one) {
            const which = readers[one.read % readers.length];
            if (!which || which.at >= journal.end) continue;
            const pieces = (await which.reader.read(one.most)) ?? [];
            const bytes = Buffer.concat(pieces);
            expect(bytes.length).toBeGreaterThan(0);
            expect(bytes.length).toBeLessThanOrEqual(one.most);
            which.got.push(bytes);
            which.at += bytes.length;
          } else if ("newReader" in one) open(Math.floor(one.newReader * journal.end));
          else if ("closeReader" in one) {
            const [gone] = readers.length > 1 ? readers.splice(one.closeReader % readers.length, 1) : [];
            gone?.reader.close();
          } else if ("acknowledge" in one) journal.acknowledge(Math.floor(one.acknowledge * (readers[0]?.at ?? 0)));
          else if ("turn" in one) await new Promise((resolve) => setImmediate(resolve));
          else if (one.short !== elsewhere > 0) {
            disk.hold(one.short ? limits.journalsMemoryBytes : -elsewhere);
            elsewhere = one.short ? limits.journalsMemoryBytes : 0;
          }
        }
        journal.appendControl(exit());
        expected.add(encodeControl(exit()));
        journal.close();
        expect(await journal.settled()).toBe(true);
        const { bytes } = expected;
        expect(journal.end).toBe(bytes.length);
        for (const { reader, at, got, from } of readers) {
          const all = Buffer.concat([...got, await readTo(reader, at, journal.end)]);
          expect(Buffer.compare(all, bytes.subarray(from))).toBe(0);
          expect(await reader.read(1)).toBeUndefined();
          reader.close();
        }
        // What is on disk is the same, and so is what a keeper after this one reads there.
        const names = findSegments(folder).get(attemptId) ?? [];
        const again = Journal.reopen(new Segments(folder, attemptId, () => {}, names), disk);
        expect(Buffer.compare(await readTo(again.read(0), 0, again.end), bytes)).toBe(0);
        for (const name of names) {
          const [, offset, stdout, stderr] = name.split(".").map(Number);
          expect({ stdout, stderr }).toEqual(contentsOf(bytes.subarray(0, offset)).tally.bytes);
        }
        journal.remove();
        expect(readdirSync(folder)).toEqual([]);
      }),
      { numRuns: 120 },
    );
  });

  it("makes of data what the codec makes of it", async () => {
    for (const length of [1, 100, 8_191, 8_192, 70_000]) {
      const { journal } = testJournal();
      const payload = bytesAt(0, length);
      journal.appendData(STDERR, payload);
      const chunk = encodeChunk(STDERR, payload);
      expect(Buffer.compare(await readTo(journal.read(0), 0, journal.end), chunk)).toBe(0);
    }
  });

  it("sends no byte that is not on disk", async () => {
    const { journal, folder } = testJournal();
    const reader = journal.read(0);
    let at = 0;
    for (const length of [1, 10, 5_000, 20_000, 300_000, 3]) {
      journal.appendData(STDOUT, bytesAt(at, length));
      while (at < journal.end) for (const piece of (await reader.read(1_000_000)) ?? []) at += piece.length;
      const written = readdirSync(folder).reduce((sum, name) => sum + readFileSync(join(folder, name)).length, 0);
      expect(written).toBe(at);
    }
  });

  it("never changes bytes that a reader has", async () => {
    const { journal } = testJournal();
    journal.appendData(STDOUT, bytesAt(0, 10));
    const first = (await journal.read(0).read(100)) ?? [];
    const then = Buffer.concat(first);
    for (let round = 0; round < 1_000; round++) journal.appendData(STDOUT, bytesAt(round, 10));
    await journal.settled();
    expect(Buffer.compare(Buffer.concat(first), then)).toBe(0);
  });

  it("gives a reader that follows each chunk as it comes, and its end behind the exit", async () => {
    const { journal } = testJournal();
    const reader = journal.read(0);
    for (let round = 0; round < 50; round++) {
      const next = reader.read(1_000);
      journal.appendData(STDOUT, Buffer.from(`line ${round}\n`));
      expect(contentsOf(Buffer.concat((await next) ?? [])).stdout.toString()).toBe(`line ${round}\n`);
    }
    const end = reader.read(1_000);
    journal.appendControl(exit(3));
    journal.close();
    expect(contentsOf(Buffer.concat((await end) ?? [])).controls).toEqual([exit(3)]);
    expect(await reader.read(1_000)).toBeUndefined();
  });

  it("ends a read that waits when its reader is closed, and other readers go on", async () => {
    const { journal } = testJournal();
    const [one, other] = [journal.read(0), journal.read(0)];
    const reads = [one.read(1_000), other.read(1_000)];
    one.close();
    expect(await reads[0]).toBeUndefined();
    journal.appendData(STDOUT, Buffer.from("x"));
    expect(Buffer.concat((await reads[1]) ?? []).length).toBe(6);
  });

  it("ends readers that wait when it is removed, also in the middle of a write, and leaves no file", async () => {
    for (const length of [10, 500_000]) {
      const { journal, folder, disk } = testJournal();
      journal.appendData(STDOUT, Buffer.alloc(length));
      // Begun by now; a long write still is under way.
      await Promise.resolve();
      journal.close();
      const reader = journal.read(0);
      const settles = journal.settled();
      journal.remove();
      await settles;
      expect(await codeOf(reader.read(10))).toBe("OFFSET_GONE");
      expect(
        await until(
          () => readdirSync(folder),
          (names) => names.length === 0,
        ),
      ).toEqual([]);
      expect(disk.used).toBe(0);
    }
  });

  it("tells that an offset is gone, as a coded error", async () => {
    const { journal } = await rotated();
    const { offset } = journal.start;
    expect(offset).toBeGreaterThan(0);
    expect(await codeOf(journal.read(0).read(1))).toBe("OFFSET_GONE");
    expect(await codeOf(journal.read(offset - 1).read(1))).toBe("OFFSET_GONE");
    expect(await codeOf(journal.read(offset).read(1))).toBe("nothing");
  });

  it("knows how many bytes of both outputs stand before the first that is left", async () => {
    const { journal, all } = await rotated();
    const { offset, before } = journal.start;
    const gone = contentsOf(all.subarray(0, offset));
    expect(before).toEqual(gone.tally.bytes);
    expect(before.stdout + before.stderr).toBeGreaterThan(0);
  });

  it("costs about what it holds, also when a process writes byte by byte", () => {
    const letter = Buffer.from("x");
    expect(
      heldAfter(() => {
        const { journal } = testJournal();
        journal.read(0);
        while (!journal.full) journal.appendData(STDOUT, letter);
        return journal;
      }),
    ).toBeLessThan(3 * limits.journalMemoryBytes);
  });

  it("costs about what it holds where small and large chunks alternate", () => {
    expect(
      heldAfter(() => {
        const { journal } = testJournal();
        journal.read(0);
        while (!journal.full) {
          journal.appendControl(mark(1));
          journal.appendData(STDERR, Buffer.alloc(8 * 1024));
        }
        return journal;
      }),
    ).toBeLessThan(3 * limits.journalMemoryBytes);
  });

  it("holds no more for being read and acknowledged line by line for long", async () => {
    const { journal } = testJournal();
    const line = Buffer.from("a line\n");
    const reader = journal.read(0);
    let at = 0;
    const follow = async (rounds: number): Promise<void> => {
      for (let round = 0; round < rounds; round++) {
        journal.appendData(STDOUT, line);
        for (const piece of (await reader.read(1_000)) ?? []) at += piece.length;
        journal.acknowledge(at);
      }
    };
    await follow(100);
    const before = heldNow();
    await follow(20_000);
    expect(heldNow() - before).toBeLessThan(2 * 1024 * 1024);
  });

  it("holds a bounded part of it in memory for a reader that stalls, who still gets all of it", async () => {
    const { journal } = testJournal();
    const stalled = journal.read(0);
    const piece = Buffer.alloc(64 * 1024, "x");
    const before = heldNow();
    for (let round = 0; round < 800; round++) {
      journal.appendData(STDOUT, piece);
      if (journal.full) await journal.room();
    }
    await journal.settled();
    expect(heldNow() - before).toBeLessThan(3 * limits.journalMemoryBytes);
    expect(contentsOf(await readTo(stalled, 0, journal.end)).stdout.length).toBe(800 * piece.length);
  });

  it("holds little of a thousand that are each read by somebody who stalls", async () => {
    const folder = testFolder();
    const { disk } = testJournal({}, folder);
    const before = heldNow();
    const journals: Journal[] = [];
    const piece = Buffer.alloc(64 * 1024, "x");
    for (let index = 0; index < 1_000; index++) {
      const { journal, files } = testJournal({}, folder, disk);
      journal.read(0);
      for (let round = 0; round < 4; round++) {
        journal.appendData(STDOUT, Buffer.from(piece));
        if (journal.full) await journal.room();
      }
      await journal.settled();
      files.close();
      journals.push(journal);
    }
    expect(heldNow() - before).toBeLessThan(limits.journalsMemoryBytes + 64 * 1024 * 1024);
    for (const journal of journals) journal.remove();
  });

  it("holds next to nothing of a thousand that are over", async () => {
    const folder = testFolder();
    const { disk } = testJournal({}, folder);
    const before = heldNow();
    const journals: Journal[] = [];
    for (let index = 0; index < 1_000; index++) {
      const { journal } = testJournal({}, folder, disk);
      for (let line = 0; line < 1_000; line++)
        journal.appendData(STDOUT, Buffer.from("a line that is not very long\n"));
      journal.close();
      await journal.settled();
      journals.push(journal);
    }
    expect(heldNow() - before).toBeLessThan(16 * 1024 * 1024);
    for (const journal of journals) journal.remove();
  });
});

/** A journal at its limit, of which the owner has acknowledged half; and all that was ever in it. */
async function rotated(): Promise<TestJournal & { readonly all: Buffer }> {
  const one = testJournal({ job: 400_000 });
  one.journal.setOwned(true);
  const reader = one.journal.read(0);
  let all = Buffer.alloc(0);
  for (let round = 0; !one.journal.full; round++) {
    one.journal.appendData(round % 3 ? STDOUT : STDERR, bytesAt(round, 1_000));
    all = Buffer.concat([all, await readTo(reader, all.length, one.journal.end)]);
  }
  reader.close();
  one.journal.acknowledge(Math.floor(all.length / 2));
  return { ...one, all };
}

import { appendFileSync, existsSync, readdirSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import { findSegments, Segments } from "../../runner/keeper/segments.ts";
import { testFolder } from "../rig/peers.ts";
import { codeOf } from "./calls.ts";

/** Bytes that tell where they stand. */
const bytesAt = (offset: number, length: number): Uint8Array =>
  Uint8Array.from({ length }, (_, index) => (offset + index) % 251);

function open(folder: string, attemptId: string = newAttemptId(), found?: readonly string[]) {
  const disk = { used: 0 };
  const files = new Segments(
    folder,
    attemptId,
    (change) => {
      disk.used += change;
    },
    found,
  );
  return { files, disk, attemptId };
}

const nothing = { stdout: 0, stderr: 0 };
const put = (files: Segments, length: number): Promise<void> | void =>
  files.write([bytesAt(files.end, length)], length);

async function readAll(files: Segments, from = files.start.offset, most = 1_000): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let at = from; at < files.end; at += pieces.at(-1)?.length ?? 0) pieces.push(await files.read(at, most));
  return Buffer.concat(pieces);
}

describe("a journal's files", () => {
  it("are named for what stands before them", async () => {
    const folder = testFolder();
    const { files, attemptId } = open(folder);
    files.begin(0, nothing);
    await put(files, 10);
    files.begin(10, { stdout: 3, stderr: 2 });
    await put(files, 5);
    expect(readdirSync(folder).sort()).toEqual([`${attemptId}.0.0.0.chunks`, `${attemptId}.10.3.2.chunks`]);
    expect(files.start).toMatchObject({ offset: 0, before: nothing });
    expect([files.end, files.bytes, files.lastBytes, files.isEmpty]).toEqual([15, 15, 5, false]);
    files.remove();
    expect(readdirSync(folder)).toEqual([]);
  });

  it("give what was written at any offset, however it was cut, closed, dropped and opened again", async () => {
    const act = fc.oneof(
      { weight: 6, arbitrary: fc.record({ write: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.constant(20_000)) }) },
      { weight: 2, arbitrary: fc.constant({ begin: true as const }) },
      { weight: 2, arbitrary: fc.record({ read: fc.double({ min: 0, max: 1, noNaN: true }), most: fc.nat(5_000) }) },
      { weight: 1, arbitrary: fc.record({ dropBefore: fc.double({ min: 0, max: 1, noNaN: true }) }) },
      { weight: 1, arbitrary: fc.record({ cutAt: fc.double({ min: 0, max: 1, noNaN: true }) }) },
      { weight: 1, arbitrary: fc.constant({ close: true as const }) },
      { weight: 1, arbitrary: fc.constant({ reopen: true as const }) },
    );
    const folder = testFolder();
    await fc.assert(
      fc.asyncProperty(fc.array(act, { maxLength: 40 }), async (acts) => {
        let { files, disk, attemptId } = open(folder);
        files.begin(0, nothing);
        const somewhere = (part: number): number =>
          Math.floor(files.start.offset + part * (files.end - files.start.offset));
        for (const one of acts) {
          if ("write" in one) await put(files, one.write);
          else if ("begin" in one) {
            // Two of one offset would have one name: a journal begins another one only behind bytes.
            if (files.lastBytes > 0) files.begin(files.end, nothing);
          } else if ("read" in one) {
            const offset = somewhere(one.read);
            if (offset === files.end) continue;
            const bytes = await files.read(offset, one.most + 1);
            expect(bytes.length).toBeGreaterThan(0);
            expect(Buffer.compare(bytes, bytesAt(offset, bytes.length))).toBe(0);
          } else if ("dropBefore" in one) {
            const [offset, end] = [somewhere(one.dropBefore), files.end];
            files.dropBefore(offset);
            expect(files.start.offset).toBeLessThanOrEqual(offset);
            expect(files.end).toBe(end);
          } else if ("cutAt" in one) {
            const offset = somewhere(one.cutAt);
            files.cutAt(offset);
            expect(files.end).toBe(offset);
          } else if ("close" in one) files.close();
          else {
            files.close();
            ({ files, disk } = open(folder, attemptId, findSegments(folder).get(attemptId)));
          }
          expect(disk.used).toBe(files.bytes);
        }
        const { offset } = files.start;
        expect(Buffer.compare(await readAll(files), bytesAt(offset, files.end - offset))).toBe(0);
        files.remove();
        expect(disk.used).toBe(0);
        expect(findSegments(folder).size).toBe(0);
      }),
      { numRuns: 150 },
    );
  });

  it("tell that an offset is not there, as a coded error", async () => {
    const { files } = open(testFolder());
    expect(await codeOf(files.read(0, 1))).toBe("OFFSET_GONE");
    files.begin(100, nothing);
    await put(files, 10);
    expect(await codeOf(files.read(99, 1))).toBe("OFFSET_GONE");
    expect(await codeOf(files.read(110, 1))).toBe("OFFSET_GONE");
    expect((await files.read(109, 10)).length).toBe(1);
  });

  it("keep the last one whatever is dropped, so that the journal's end is known", async () => {
    const { files } = open(testFolder());
    files.begin(0, nothing);
    await put(files, 10);
    files.dropBefore(1_000);
    expect([files.start.offset, files.end]).toEqual([0, 10]);
  });

  it("write more pieces at once than one system call takes, small or large", async () => {
    for (const length of [3, 50]) {
      const { files } = open(testFolder());
      files.begin(0, nothing);
      const pieces = Array.from({ length: 2_500 }, (_, index) => bytesAt(index * length, length));
      await files.write(pieces, 2_500 * length);
      expect(Buffer.compare(await readAll(files), bytesAt(0, 2_500 * length))).toBe(0);
      files.close();
    }
  });

  it("have no hole when they are opened again: what stands before one is gone, for it was stored elsewhere", async () => {
    const folder = testFolder();
    const { files, attemptId } = open(folder);
    files.begin(0, nothing);
    await put(files, 10);
    files.begin(30, { stdout: 7, stderr: 0 });
    await put(files, 10);
    files.close();
    const { files: again, disk } = open(folder, attemptId, findSegments(folder).get(attemptId));
    expect(again.start).toMatchObject({ offset: 30, before: { stdout: 7, stderr: 0 } });
    expect([again.end, disk.used, readdirSync(folder).length]).toEqual([40, 10, 1]);
  });

  it("leave files that are not theirs alone", () => {
    const folder = testFolder();
    for (const name of ["keeper.log", "abc.0.0.0.chunks", "0123456789ab.x.0.0.chunks", "0123456789ab.json"])
      writeFileSync(join(folder, name), "");
    expect(findSegments(folder).size).toBe(0);
  });

  for (const length of [100, 300_000]) {
    it(`are as before after a write of ${length} bytes that fails midway, and take the next one`, async () => {
      const folder = testFolder();
      const { files, disk, attemptId } = open(folder);
      files.begin(0, nothing);
      await put(files, 10);
      // A piece that cannot be written, behind one that can.
      const broken = [bytesAt(0, 2_000), ...Array.from({ length: 1_000 }, () => Buffer.alloc(1)), "no bytes" as never];
      await expect((async () => files.write(broken, length > 16_384 ? length : 4_000))()).rejects.toThrow();
      expect([files.end, disk.used]).toEqual([10, 10]);
      expect(readFileSync(join(folder, `${attemptId}.0.0.0.chunks`)).length).toBe(10);
      await put(files, 20);
      expect(Buffer.compare(await readAll(files), bytesAt(0, 30))).toBe(0);
      files.close();
    });
  }

  it("are written over where a write that failed left something behind", async () => {
    const folder = testFolder();
    const { files, attemptId } = open(folder);
    files.begin(0, nothing);
    await put(files, 10);
    const path = join(folder, `${attemptId}.0.0.0.chunks`);
    appendFileSync(path, "torn");
    await put(files, 10);
    expect(Buffer.compare(readFileSync(path), bytesAt(0, 20))).toBe(0);
    files.close();
  });

  it("can be cut in the middle of an earlier one, and go on there", async () => {
    const folder = testFolder();
    const { files, disk } = open(folder);
    for (const at of [0, 10, 20]) {
      files.begin(at, nothing);
      await put(files, 10);
    }
    files.cutAt(4);
    expect([files.end, disk.used, readdirSync(folder).length]).toEqual([4, 4, 1]);
    await put(files, 6);
    expect(Buffer.compare(await readAll(files), bytesAt(0, 10))).toBe(0);
    files.close();
  });

  it("open again at what is there, where the last one was cut short meanwhile", async () => {
    const folder = testFolder();
    const { files, attemptId } = open(folder);
    files.begin(0, nothing);
    await put(files, 10);
    files.close();
    truncateSync(join(folder, `${attemptId}.0.0.0.chunks`), 7);
    const { files: again } = open(folder, attemptId, findSegments(folder).get(attemptId));
    expect([again.end, Buffer.compare(await readAll(again), bytesAt(0, 7))]).toEqual([7, 0]);
    again.remove();
    expect(existsSync(join(folder, `${attemptId}.0.0.0.chunks`))).toBe(false);
  });
});

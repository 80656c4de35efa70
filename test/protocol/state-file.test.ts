// A state file on a file system whose clock has long steps, as those of many kernels have: two changes within one of them, and it
// has the inode and the times of before.
import { mkdtempSync, rmSync, type StatSyncOptions } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import { expect, it, onTestFinished, vi } from "vitest";
import { stateFile } from "../../protocol/state-file.ts";

vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const statSync = (path: string, options?: StatSyncOptions) => {
    const stat = fs.statSync(path, options);
    if (stat && "mtimeNs" in stat) Object.assign(stat, { ino: 1n, mtimeNs: 1n });
    return stat;
  };
  return { ...fs, statSync };
});

it("is read again as long as it may have changed, and parsed only where it did", () => {
  const folder = mkdtempSync(join(tmpdir(), "sortie-state-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const path = join(folder, "names.json");
  const reading = stateFile(path, v.array(v.string()), []);
  const writing = stateFile(path, v.array(v.string()), []);
  expect(reading.read()).toEqual([]);
  for (const name of ["one", "two", "six"]) {
    writing.change(() => [name]);
    expect(reading.read()).toEqual([name]);
    expect(reading.read()).toBe(reading.read());
  }
  rmSync(path);
  expect(reading.read()).toEqual([]);
});

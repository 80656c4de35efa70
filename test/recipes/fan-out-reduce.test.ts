import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const run = (rig: Rig, ...params: readonly string[]) =>
  rig.coordinator(["run", "recipes/fan-out-reduce.ts", ...params.flatMap((param) => ["--set", param])]);

describe("recipes/fan-out-reduce.ts", () => {
  it("counts the words of a hundred files, whatever their names, and adds them up", async () => {
    await using rig = new Rig();
    const folder = join(rig.folder, "texts");
    mkdirSync(join(folder, "it's a folder"), { recursive: true });
    for (let words = 1; words <= 100; words++)
      writeFileSync(join(folder, words % 2 ? `${words}.txt` : `it's a folder/$(${words}).txt`), "word ".repeat(words));
    writeFileSync(join(folder, "other.md"), "not counted");
    const { code, text } = await run(rig, `folder=${folder}`, "pattern=*.txt");
    expect(code).toBe(0);
    expect(text).toContain("total │ 100 files, 5050 words, 100 in the longest");
    expect(text).toContain("run passed: 102 passed");
  });

  it("fails where there is no such file, and adds nothing up", async () => {
    await using rig = new Rig();
    const { code, text } = await run(rig, `folder=${rig.folder}`, "pattern=*.none");
    expect(code).toBe(1);
    expect(text).toContain(`${rig.folder} has no file *.none.`);
    expect(text).toMatch(/total +│ - skipped: count failed/);
  });

  it("runs as it stands", async () => {
    await using rig = new Rig();
    const { code, text } = await run(rig);
    expect(code).toBe(0);
    expect(text).toMatch(/total +│ \d+ files, \d+ words/);
  });
});

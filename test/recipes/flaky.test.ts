import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

/** Tests of which one fails in every third round, however many of them run at once. */
function flakyTests(rig: Rig): string {
  const folder = join(rig.folder, "tests");
  mkdirSync(folder);
  writeFileSync(
    join(folder, "round.test.mjs"),
    `import { mkdirSync } from "node:fs";
    import { test } from "node:test";
    let round = 1;
    for (;; round++) try { mkdirSync(new URL(\`round-\${round}\`, import.meta.url)); break; } catch {}
    test("steady < 1", () => {});
    test("sometimes", () => { if (round % 3 === 0) throw new Error("not this time"); });
    test("later", { todo: true }, () => { throw new Error("to do"); });\n`,
  );
  return folder;
}

const run = (rig: Rig, ...params: readonly string[]) =>
  rig.coordinator(["run", "recipes/flaky.ts", ...params.flatMap((param) => ["--set", param])]);

describe("recipes/flaky.ts", () => {
  it("tells how often each test failed, from JUnit XML, and fails above the threshold", async () => {
    await using rig = new Rig();
    const { code, text } = await run(rig, `folder=${flakyTests(rig)}`, "rounds=6", "threshold=33");
    expect(code).toBe(1);
    expect(text).toMatch(/report +│ {2}33\.3% {2}2 of 6 {2}.*sometimes\n/);
    expect(text).toMatch(/report +│ 3 tests in 6 rounds, 1 failed at least once\n/);
    expect(text).toMatch(/sometimes failed in 33\.3% of its runs, over 33%\./);
  });

  it("reads TAP too, and bears what is not above the threshold", async () => {
    await using rig = new Rig();
    const command = "node --test --test-reporter=tap";
    const { code, text } = await run(
      rig,
      `folder=${flakyTests(rig)}`,
      "rounds=3",
      "threshold=50",
      `command=${command}`,
    );
    expect(code).toBe(0);
    expect(text).toMatch(/report +│ {2}33\.3% {2}1 of 3 {2}sometimes\n/);
    expect(text).toMatch(/report +│ 3 tests in 3 rounds, 1 failed at least once\n/);
  });

  it("fails where a command prints no test at all", async () => {
    await using rig = new Rig();
    const { code, text } = await run(rig, "rounds=1", "command=echo nothing");
    expect(code).toBe(1);
    expect(text).toContain("echo nothing printed no test, as JUnit XML or TAP.");
    expect(text).toMatch(/report +│ - skipped/);
  });
});

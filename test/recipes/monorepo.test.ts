import { execFileSync } from "node:child_process";
import { appendFileSync, cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, root } from "../rig/rig.ts";

/** The example's workspace, where "greet" needs "words", as a repository of its own with one commit. */
function workspace(rig: Rig): string {
  const folder = join(rig.folder, "workspace");
  cpSync(join(root, "recipes/example"), folder, { recursive: true, filter: (path) => !path.endsWith("node_modules") });
  writeFileSync(join(folder, ".gitignore"), "node_modules\n");
  const git = (...args: readonly string[]) =>
    execFileSync("git", ["-C", folder, "-c", "user.name=a", "-c", "user.email=a@b.c", ...args]);
  git("init", "-q");
  git("add", ".");
  git("commit", "-qm", "All");
  return folder;
}

const run = (rig: Rig, folder: string, ...params: readonly string[]) =>
  rig.coordinator([
    ...["run", "recipes/monorepo.ts", "--set", `root=${folder}`],
    ...params.flatMap((param) => ["--set", param]),
  ]);

/** The jobs that passed, in the order of their ends. */
const passed = (text: string): string[] =>
  [...text.matchAll(/^packages\.(\S+) +│ ✔ passed/gm)].map(([, name = ""]) => name);

describe("recipes/monorepo.ts", () => {
  it("builds and tests each package once what it needs is built", async () => {
    await using rig = new Rig();
    const { code, text } = await run(rig, workspace(rig));
    expect(code).toBe(0);
    const jobs = passed(text);
    expect(jobs.toSorted()).toEqual([
      "build:example-greet",
      "build:example-words",
      "test:example-greet",
      "test:example-words",
    ]);
    const at = (line: RegExp): number => text.search(line);
    expect(at(/^packages\.build:example-words +│ ✔/m)).toBeLessThan(at(/^packages\.build:example-greet +│ started/m));
    expect(text).toMatch(/test:example-greet +│ ✔ everybody is greeted/);
  });

  it("tests what changed since a ref and what needs that, and builds what these need", async () => {
    await using rig = new Rig();
    const folder = workspace(rig);
    appendFileSync(join(folder, "packages/greet/greet.js"), "\n");
    const greet = await run(rig, folder, "since=HEAD");
    expect(greet.code).toBe(0);
    expect(passed(greet.text).toSorted()).toEqual(["build:example-greet", "build:example-words", "test:example-greet"]);
    // Also a file that git does not know yet.
    writeFileSync(join(folder, "packages/words/new.js"), "");
    const words = await run(rig, folder, "since=HEAD");
    expect(words.text).toContain("changed since HEAD: @example/words, @example/greet");
    expect(passed(words.text)).toHaveLength(4);
  });

  it("does nothing where nothing changed, and fails on a ref that is not there", async () => {
    await using rig = new Rig();
    const folder = workspace(rig);
    const none = await run(rig, folder, "since=HEAD");
    expect(none.code).toBe(0);
    expect(none.text).toContain("changed since HEAD: nothing");
    expect(passed(none.text)).toEqual([]);
    const wrong = await run(rig, folder, "since=no-such-ref");
    expect(wrong.code).toBe(1);
    expect(wrong.text).toMatch(/packages +│ ✖ failed/);
  });

  it("starts nothing that needs a package whose build fails", async () => {
    await using rig = new Rig();
    const folder = workspace(rig);
    writeFileSync(join(folder, "packages/words/words.js"), "const = 1;");
    const { code, text } = await run(rig, folder);
    expect(code).toBe(1);
    expect(text).toMatch(/build:example-words +│ ✖ failed/);
    for (const job of ["test:example-words", "build:example-greet", "test:example-greet"])
      expect(text).toMatch(new RegExp(`${job} +│ - skipped`));
  });
});

import fs, { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { gatherChanges } from "../../coordinator/changes.ts";
import { ignoredFrom } from "../../coordinator/ignored.ts";
import { anchored, touchedBy } from "../../coordinator/touched.ts";
import { watchFiles } from "../../coordinator/watch.ts";
import type { JobName } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";

const names = (...list: string[]): JobName[] => list as JobName[];

describe("what a changed file concerns", () => {
  const jobs = [
    { name: names("build")[0] as JobName, inputs: ["src/**/*.ts", "package.json"] },
    { name: names("docs")[0] as JobName, inputs: ["docs", "../shared/*.md"] },
    { name: names("any")[0] as JobName },
  ];
  const touched = (file: string): string[] => touchedBy(file, jobs, "/home/me [1]/app").map(({ name }) => name);

  it("is the jobs whose inputs it matches, and those below whose recipe's folder it is", () => {
    expect(touched("/home/me [1]/app/src/a.ts")).toEqual(["build", "any"]);
    expect(touched("/home/me [1]/app/src/deep/a.ts")).toEqual(["build", "any"]);
    expect(touched("/home/me [1]/app/src/a.css")).toEqual(["any"]);
    expect(touched("/home/me [1]/app/package.json")).toEqual(["build", "any"]);
    expect(touched("/home/me [1]/app/docs/deep/page.md")).toEqual(["docs", "any"]);
    expect(touched("/home/me [1]/shared/page.md")).toEqual(["docs"]);
    expect(touched("/home/me [1]/shared/deep/page.md")).toEqual([]);
    expect(touched("/home/me 1/app/src/a.ts")).toEqual([]);
  });

  it("is not looked for with patterns that would take for ever", () => {
    const file = `/app/${"a".repeat(40)}`;
    for (const glob of ["{1..1000000}", `${"*a".repeat(20)}b`, "+(a|aa)+(a|aa)b"])
      expect(() => touchedBy(file, [{ name: names("one")[0] as JobName, inputs: [glob] }], "/app", 200)).toThrow(
        /more than 0.2 s/,
      );
  });

  it("begins to look for a glob in the folder before its first pattern", () => {
    expect(anchored("/app", "../lib/src/**/*.ts")).toEqual({ base: "/lib/src", glob: "**/*.ts" });
    expect(anchored("/app", "package.json")).toEqual({ base: "/app", glob: "package.json" });
    expect(anchored("/app", "./{a,b}/c")).toEqual({ base: "/app", glob: "{a,b}/c" });
  });
});

describe("what is never looked at", () => {
  let folder: string;
  const write = (path: string, text = ""): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), text);
  };
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sortie-ignored-"));
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  it("is .git, node_modules and what the repository's .gitignore files name, those above the recipe too", () => {
    write(".git/HEAD");
    write(".gitignore", "dist/\n*.log\n");
    write("app/.gitignore", "!keep.log\n/made\n");
    const ignored = ignoredFrom(join(folder, "app"));
    const has = (path: string, isFolder?: boolean): boolean => ignored.has(join(folder, path), isFolder);
    expect(
      [".git", "app/node_modules", "dist/a", "app/dist/b", "app/x.log", "app/made"].map((path) => has(path)),
    ).toEqual(Array(6).fill(true));
    expect(has("app/dist", true)).toBe(true);
    expect(["app/dist", "app/keep.log", "app/src/made", "app/a.ts"].map((path) => has(path))).toEqual(
      Array(4).fill(false),
    );
    write("app/.gitignore", "");
    ignored.forget();
    expect([has("app/keep.log"), has("app/made")]).toEqual([true, false]);
  });

  it("is not the recipe's folder itself, though its repository ignores that", () => {
    write(".git/HEAD");
    write(".gitignore", "scratch\n*.log\n");
    write("scratch/.gitignore", "made\n");
    const ignored = ignoredFrom(join(folder, "scratch"));
    expect(["a.ts", "x.log", "made"].map((name) => ignored.has(join(folder, "scratch", name)))).toEqual([
      false,
      false,
      true,
    ]);
  });

  it("is named by the recipe's own folder alone where there is no repository", () => {
    write(".gitignore", "*.ts\n");
    write("app/.gitignore", "*.log\n");
    const ignored = ignoredFrom(join(folder, "app"));
    expect(ignored.has(join(folder, "app/a.ts"))).toBe(false);
    expect(ignored.has(join(folder, "app/a.log"))).toBe(true);
  });
});

describe("changes", () => {
  it("come together until it is quiet, and what concerns nobody is none", async () => {
    const changes = gatherChanges();
    let isTold = false;
    const next = changes.next().then((change) => {
      isTold = true;
      return change;
    });
    changes.add("/nobody", []);
    await new Promise((resolve) => setImmediate(resolve));
    expect(isTold).toBe(false);
    for (const [index, job] of ["build", "test", "build", "docs"].entries()) changes.add(`/file${index}`, names(job));
    expect(await next).toEqual({
      jobs: new Set(["build", "test", "docs"]),
      files: ["/file0", "/file1", "/file2"],
      count: 4,
    });
    changes.add("/recipe", "all");
    for (let times = 0; times < 2; times++) changes.add("/file", names("build"));
    expect(await changes.next()).toEqual({ jobs: "all", files: ["/recipe", "/file"], count: 2 });
  });

  it("do not wait for ever where there is no quiet", async () => {
    const changes = gatherChanges();
    // Time passes with each change alone: a stall of the machine would be quiet, too.
    let now = 0;
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now);
    const timer = setInterval(() => {
      now += limits.watchQuietMs;
      changes.add(`/busy${now}`, names("build"));
    }, 5);
    try {
      expect((await changes.next()).count).toBeGreaterThan(limits.watchMostMs / limits.watchQuietMs);
    } finally {
      clearInterval(timer);
      clock.mockRestore();
    }
  });
});

describe("a folder that is made", () => {
  it("is watched with what is made in it between the look at it and the watch, and deeper", async () => {
    const folder = mkdtempSync(join(tmpdir(), "sortie-watched-"));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const write = (path: string): void => {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), "");
    };
    write("recipe.ts");
    writeFileSync(join(folder, ".gitignore"), "ignored\n");
    const files = await watchFiles(join(folder, "recipe.ts"), []);
    onTestFinished(() => files.close());
    files.learn({ type: "planned", jobs: [{ name: "any" as JobName }] });
    const original = fs.watch;
    const watch = vi.spyOn(fs, "watch").mockImplementation(((path: string, ...rest: []) => {
      if (path === join(folder, "new")) for (const file of ["file", "deep/file", "ignored"]) write(`new/${file}`);
      return original(path, ...rest);
    }) as typeof fs.watch);
    syncBuiltinESMExports();
    onTestFinished(() => {
      watch.mockRestore();
      syncBuiltinESMExports();
    });
    mkdirSync(join(folder, "new"));
    const told = (await files.changes.next()).files;
    expect(told.toSorted()).toEqual([join(folder, "new/deep/file"), join(folder, "new/file")]);
    // And from then on as any other.
    write("new/deep/later");
    expect((await files.changes.next()).files).toEqual([join(folder, "new/deep/later")]);
  });
});

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { outputOf, runRecipe } from "./run.ts";

it("packs a folder with its checksum, keeps the last few, and leaves them where it fails", async () => {
  await using rig = new Rig();
  const [folder, to] = [join(rig.folder, "the data"), join(rig.folder, "backups")];
  mkdirSync(folder);
  mkdirSync(to);
  writeFileSync(join(to, "backup-2020-01-01T03-00-00.000Z.tar.gz"), "old");
  writeFileSync(join(to, "backup-2020-01-01T03-00-00.000Z.tar.gz.sha256"), "old");
  writeFileSync(join(to, "backup-2020-01-02T03-00-00.000Z.tar.gz.partial"), "broken off");
  writeFileSync(join(to, "notes.txt"), "somebody else's");
  const files: string[] = [];
  for (const content of ["one", "two", "three"]) {
    writeFileSync(join(folder, "file"), content);
    const { code, jobs } = await runRecipe(rig, "backup", { folder, to, keep: 2 });
    expect(code).toBe(0);
    files.push(String(outputOf(jobs, "backup")["file"]));
  }
  const kept = files.slice(1).map((file) => basename(file));
  const expected = [...kept.flatMap((name) => [name, `${name}.sha256`]), "notes.txt"].sort();
  expect(readdirSync(to).sort()).toEqual(expected);
  expect(
    execFileSync("sha256sum", ["--check", ...kept.map((name) => `${name}.sha256`)], { cwd: to, encoding: "utf8" }),
  ).toBe(kept.map((name) => `${name}: OK\n`).join(""));
  const restored = join(rig.folder, "restored");
  mkdirSync(restored);
  execFileSync("tar", ["-C", restored, "-xzf", files[2] ?? ""]);
  expect(readFileSync(join(restored, "file"), "utf8")).toBe("three");

  const failed = await runRecipe(rig, "backup", { folder: join(rig.folder, "not there"), to, keep: 1 });
  expect(failed.code).toBe(1);
  expect(
    readdirSync(to)
      .filter((name) => !name.endsWith(".partial"))
      .sort(),
  ).toEqual(expected);
  expect((await runRecipe(rig, "backup", { folder, to, keep: 2 })).code).toBe(0);
  expect(readdirSync(to).filter((name) => name.endsWith(".partial"))).toEqual([]);
});

import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { git, runRecipe } from "./run.ts";

const test = "n=$(cat number); [ $n != 6 ] || exit 125; [ $n -lt 9 ]";

/** Of twelve commits, the ninth of which is the first bad one, and the sixth cannot be told. */
function historyIn(rig: Rig): string {
  const repository = join(rig.folder, "history");
  mkdirSync(repository);
  git(repository, "init", "--quiet");
  for (let number = 1; number <= 12; number++) {
    writeFileSync(join(repository, "number"), `${number}\n`);
    git(repository, "add", ".");
    git(repository, "commit", "--quiet", "-m", `number ${number}`);
  }
  return repository;
}

it("finds the first bad commit among many, with one between that cannot be told", async () => {
  await using rig = new Rig();
  const repository = historyIn(rig);
  const found = await runRecipe(rig, "bisect", { repository, test });
  expect(found.code).toBe(0);
  const commit = git(repository, "rev-parse", "HEAD~3");
  expect(found.jobs["bisect"]?.output).toEqual({ commit, subject: "number 9" });
  expect(found.shown).toContain(`the first bad commit is ${commit}: number 9`);
  // The repository itself is left as it is.
  expect(git(repository, "status", "--short", "--branch")).not.toContain("bisect");

  const narrow = await runRecipe(rig, "bisect", { repository, test, good: "HEAD~4", bad: "HEAD~1" });
  expect(narrow.jobs["bisect"]?.output).toEqual({ commit, subject: "number 9" });
});

it("fails where the commits are not what they are said to be, or the test command itself breaks", async () => {
  await using rig = new Rig();
  const repository = historyIn(rig);
  const nothing = await runRecipe(rig, "bisect", { repository, test, bad: "HEAD~5" });
  expect([nothing.code, nothing.jobs["bisect"]?.message]).toEqual([1, expect.stringMatching(/is not bad/)]);
  const broken = await runRecipe(rig, "bisect", { repository, test: "no-such-command-here; exit 128" });
  expect([broken.code, broken.jobs["bisect"]?.message]).toEqual([1, expect.stringContaining("itself broke")]);
});

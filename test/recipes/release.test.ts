import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { terminal } from "../rig/terminal.ts";
import { git, runRecipe } from "./run.ts";

/** A repository of a package whose build wants its own file. */
function repositoryIn(rig: Rig): string {
  const repository = join(rig.folder, "package");
  mkdirSync(repository);
  writeFileSync(join(repository, "package.json"), '{ "name": "thing", "version": "1.2.3" }');
  git(repository, "init", "--quiet");
  git(repository, "add", ".");
  git(repository, "commit", "--quiet", "-m", "the first");
  return repository;
}

it("tags what was built, once its version was typed in a terminal", async () => {
  await using rig = new Rig();
  const repository = repositoryIn(rig);
  const command = `node dist/coordinator.js run recipes/release.ts --set repository=${repository} --set build='test -e package.json'`;
  {
    using left = terminal(rig, command);
    await left.shows("Type 1.2.3 to release it ›");
    left.press("C-c");
    await left.shows("code=130");
  }
  expect(git(repository, "tag")).toBe("");
  using window = terminal(rig, command);
  await window.shows("Type 1.2.3 to release it ›");
  window.type("1.2.4");
  window.press("Enter");
  await window.shows("Only 1.2.3 releases it.");
  expect(git(repository, "tag")).toBe("");
  window.type("1.2.3");
  window.press("Enter");
  await window.shows("code=0");
  expect(git(repository, "rev-parse", "v1.2.3")).toBe(git(repository, "rev-parse", "HEAD"));
});

it("tags nothing that does not build, that was refused, or that is there already", async () => {
  await using rig = new Rig();
  const repository = repositoryIn(rig);
  const typed = ["--answer", "release=1.2.3"];
  const broken = await runRecipe(rig, "release", { repository, build: "echo no >&2; exit 5" }, typed);
  expect([broken.code, broken.jobs["release"]?.message]).toEqual([1, expect.stringContaining("exit 5")]);
  const refused = await runRecipe(rig, "release", { repository, build: "true" }, ["--answer", "release=yes"]);
  expect([refused.code, git(repository, "tag")]).toEqual([1, ""]);
  const released = await runRecipe(rig, "release", { repository, build: "true" }, typed);
  expect(released.jobs["release"]?.output).toMatchObject({
    tag: "v1.2.3",
    commit: expect.stringMatching(/ the first$/),
  });
  const again = await runRecipe(rig, "release", { repository, build: "true" }, typed);
  expect([again.code, again.jobs["release"]?.message]).toEqual([1, expect.stringContaining("v1.2.3 is there already")]);
});

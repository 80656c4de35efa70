import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { listRecipes } from "../../coordinator/recipe/loader.ts";
import { Rig, root } from "../rig/rig.ts";

const recipes = listRecipes(join(root, "recipes"));

describe("every recipe in recipes/", () => {
  it("says in one line what it is for", () => {
    expect(recipes).toHaveLength(readdirSync(join(root, "recipes")).filter((name) => name.endsWith(".ts")).length);
    for (const { path, summary } of recipes)
      expect({ path, summary }).toEqual({ path, summary: expect.stringMatching(/^[A-Z].{20,}\.$/) });
  });

  it.each(recipes.map(({ path }) => path.slice(root.length + 1)))("is planned with its defaults: %s", async (path) => {
    await using rig = new Rig();
    const { code, stderr } = await rig.coordinator(["run", path, "--dry-run"]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("has right types, by the settings that `coordinator check` takes for a project with a tsconfig.json", () => {
    const cache = join(root, "node_modules/.cache");
    mkdirSync(cache, { recursive: true });
    const folder = mkdtempSync(join(cache, "sortie-recipes-"));
    try {
      const settings = { extends: join(root, "tsconfig.json"), include: [], files: recipes.map(({ path }) => path) };
      writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(settings));
      const tsc = join(root, "node_modules/typescript/bin/tsc");
      expect(execFileSync(process.execPath, [tsc, "-p", folder, "--noEmit"], { encoding: "utf8" })).toBe("");
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

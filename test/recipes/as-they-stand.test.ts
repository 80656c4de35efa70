import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { runRecipe } from "./run.ts";

it.each(["rolling-deploy", "database-dump", "soak", "flaky"])("the recipe %s runs as it stands", async (name) => {
  await using rig = new Rig();
  const { code, jobs } = await runRecipe(rig, name);
  expect({ code, jobs }).toMatchObject({ code: 0 });
  expect(Object.values(jobs)[0]?.outcome).toBe("passed");
});

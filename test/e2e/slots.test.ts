import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

it("a job takes as many slots as it says, and the runner counts them; higher priorities start first", async () => {
  await using rig = new Rig();
  await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
  const go = join(rig.folder, "go");
  const path = rig.recipe(`import { job, recipe, sh } from "sortie";
    export default recipe({
      small: job({ run: "echo small" }),
      big: job({ priority: 1, slots: 2, run: sh\`echo waiting; until [ -e \${${JSON.stringify(go)}} ]; do sleep 0.05; done\` }),
    });`);
  const live = rig.spawnCoordinator(["run", path]);
  await live.waitFor(/waiting\n/);
  expect((await rig.coordinator(["runners", "--json"])).text).toMatch(/"slots":2,"busy":2/);
  const refused = await rig.coordinator(["exec", "w1", "--", "true"]);
  expect([refused.code, refused.stderr]).toEqual([
    125,
    expect.stringContaining("2 of the 2 slots of the runner are taken"),
  ]);
  expect(live.stdout()).not.toContain("small │ started");
  writeFileSync(go, "");
  const { code, text } = await live.ended;
  expect(code).toBe(0);
  expect(text).toContain("small │ small");

  const tooBig = rig.recipe(
    `import { job, recipe } from "sortie";
    export default recipe({ huge: job({ slots: 64, run: "echo huge" }) });`,
    "huge.ts",
  );
  const unknown = await rig.coordinator(["run", tooBig]);
  expect([unknown.code, unknown.stderr]).toEqual([
    2,
    expect.stringMatching(/huge asks for 64 slots; there is w1 \(.*, 2 slots\)/),
  ]);
  expect(await rig.coordinator(["run", tooBig, "--local"])).toMatchObject({ code: 0 });
  expect((await rig.coordinator(["run", path, "--dry-run"])).text).toMatch(/^big\n {2}on 2 slots\n {2}priority 1$/m);
});

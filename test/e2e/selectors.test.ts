import { expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

it("jobs go to runners by rules for labels; one with a mandatory label gets only those that ask for it", async () => {
  await using rig = new Rig();
  const dear = await rig.pairedRunner("dear", ["-A", "--slots", "4", "--label", "gpu!=a100"]);
  await rig.pairedRunner("plain", ["-A", "--slots", "1", "--label", "disk=fast"]);
  expect(dear.stdout()).toContain("gpu!=a100");
  expect((await rig.coordinator(["runners"])).text).toMatch(/^dear .*gpu!=a100/m);
  const path = rig.recipe(`import { all, any, job, not, recipe } from "sortie";
    const run = "true";
    export default recipe({
      a: job({ run }), b: job({ run, on: { gpu: not("t4") } }), c: job({ run, on: { disk: ["slow", "fast"] } }),
      d: job({ run, on: { gpu: true } }), e: job({ run, on: { gpu: all(true, not("t4")), disk: false } }),
      f: job({ run, on: { gpu: any("a100", "h100") } }),
    });`);
  const { code, text } = await rig.coordinator(["run", path]);
  expect(code).toBe(0);
  const where = [..."abcdef"].map((name) => new RegExp(`^${name} │ started on (\\w+)`, "m").exec(text)?.[1]);
  expect(where).toEqual(["plain", "plain", "plain", "dear", "dear", "dear"]);
  const unknown = await rig.coordinator([
    "run",
    rig.recipe(`import { job, recipe } from "sortie";
      export default recipe({ one: job({ run: "true", on: { runner: "dear" } }) });`),
  ]);
  expect(unknown.code).toBe(2);
  expect(unknown.stderr).toMatch(/error\[SELECTOR_UNKNOWN\]: one asks for runner=dear; there is .*dear \(.*gpu!=a100/);
  const bad = await rig.runner(["start", "--label", "!=x"], rig.home);
  expect([bad.code, bad.stderr]).toEqual([2, expect.stringContaining('"!=x" is not a label')]);
});

// Jobs that wait for their turn among others (`--jobs`), and are cancelled before it comes.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

/** Two jobs that could run at once, on a runner with room for both. */
async function two(rig: Rig, first: string): Promise<string> {
  await rig.pairedRunner("w1", ["-A", "--slots", "4"]);
  return rig.recipe(`import { job, recipe } from "sortie";
    export default recipe({ first: job({ priority: 1, run: ${JSON.stringify(first)} }), second: job({ run: "echo ran" }) });`);
}

describe("a job that waits for its turn", () => {
  it("does not start once the run is cancelled, or another job failed", async () => {
    await using rig = new Rig();
    const live = rig.spawnCoordinator(["run", await two(rig, "echo up; sleep 5848"), "--jobs", "1"]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGINT");
    const { code, text } = await live.ended;
    expect(code).toBe(130);
    expect(text).toMatch(/^second │ ■ cancelled: the run was cancelled before it started/m);
    expect(text).not.toMatch(/second │ started/);

    const failing = rig.recipe(`import { job, recipe } from "sortie";
      export default recipe({ first: job({ priority: 1, run: "exit 3" }), second: job({ run: "echo ran" }) });`);
    const failed = await rig.coordinator(["run", failing, "--jobs", "1", "--fail-fast"]);
    expect(failed.code).toBe(1);
    expect(failed.text).toMatch(/^second │ ■ cancelled: the run was cancelled before it started/m);
    expect(failed.text).not.toMatch(/second │ started/);
  });

  it("is cancelled by its name while others go on", async () => {
    await using rig = new Rig();
    const go = join(rig.folder, "go");
    const path = await two(rig, `echo up; until [ -e ${go} ]; do sleep 0.05; done`);
    const live = rig.spawnCoordinator(["run", path, "--jobs", "1"]);
    await live.waitFor(/│ up/);
    const cancelled = await rig.coordinator(["cancel", "last/second"]);
    expect([cancelled.code, cancelled.text]).toEqual([0, expect.stringMatching(/^\w+\/second: cancelled$/m)]);
    writeFileSync(go, "");
    const { code, text } = await live.ended;
    expect(code).toBe(130);
    expect(text).toMatch(/^first +│ ✔ passed/m);
    expect(text).toMatch(/^second │ ■ cancelled: it was cancelled before it started/m);
    expect(text).not.toMatch(/second │ started/);
  });
});

import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, secondPress, until } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe } from "sortie";\n${body}`;

describe("a job that may fail", () => {
  it("lets the run pass, and what needs it go on; every view says so", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(`const lint = job({ allowFailure: true, run: "exit 3" });
              export default recipe({ lint, after: job({ needs: [lint], run: "echo after" }) });`),
    );
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(0);
    expect(text).toContain("lint  │ ! failed, allowed: exit 3");
    expect(text).toContain("after │ after");
    expect(text).toMatch(/run passed: 1 failed \(allowed\), 1 passed/);
    expect(text).not.toContain("coordinator logs");
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/^lint +failed, allowed .*exit 3/m);
    expect((await rig.coordinator(["attach", "last"])).text).toContain("! failed, allowed: exit 3");
    const json = await rig.coordinator(["run", path, "--format", "json"]);
    expect(json.text).toMatch(/"job-ended".*"job":"lint","outcome":"failed","allowed":true/);
    expect((await rig.coordinator(["run", path, "--dry-run"])).text).toContain("  may fail\n");
  });
});

describe("a job that runs always", () => {
  const source = (stop: string): string =>
    recipe(`const start = job({ run: "echo started" });
            const test = job({ needs: [start], run: "echo testing; sleep 5831" });
            const more = job({ needs: [test], run: "echo never" });
            const stop = job({ always: true, needs: [start, test, more], run: ${JSON.stringify(stop)} });
            export default recipe({ start, test, more, stop });`);

  it("runs after a failure, and does not make the run pass", async () => {
    await using rig = new Rig();
    const path = rig.recipe(source("echo cleaned").replace("sleep 5831", "exit 5"));
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(1);
    expect(text).toContain("more  │ - skipped");
    expect(text).toContain("stop  │ cleaned");
    expect(text).toMatch(/run failed: .*2 passed/);
  });

  for (const where of ["embedded", "on a runner"] as const)
    it(`runs after Ctrl-C, once what was cancelled is over (${where})`, async () => {
      await using rig = new Rig();
      if (where === "on a runner") await rig.pairedRunner("w1");
      const live = rig.spawnCoordinator(["run", rig.recipe(source("echo cleaned"))]);
      await live.waitFor(/testing\n/);
      live.child.kill("SIGINT");
      const { code, text } = await live.ended;
      expect(code).toBe(130);
      expect(text.indexOf("stop  │ cleaned")).toBeGreaterThan(text.indexOf("test  │ ■ cancelled"));
      expect(text).toMatch(/stop {2}│ ✔ passed/);
      expect(text).not.toContain("never");
    });

  for (const where of ["embedded", "on a runner"] as const)
    it(`is ended by a second Ctrl-C (${where})`, async () => {
      await using rig = new Rig();
      if (where === "on a runner") await rig.pairedRunner("w1");
      const done = join(rig.folder, "done");
      const live = rig.spawnCoordinator(["run", rig.recipe(source(`echo cleaning; sleep 5832; touch ${done}`))]);
      await live.waitFor(/testing\n/);
      live.child.kill("SIGINT");
      await live.waitFor(/cleaning\n/);
      await secondPress();
      live.child.kill("SIGINT");
      expect((await live.ended).code).toBe(130);
      expect(
        await until(
          () => processesOf("sleep\x005832"),
          (pids) => pids.length === 0,
        ),
      ).toEqual([]);
      expect(existsSync(done)).toBe(false);
    });

  it("runs when another terminal cancels the run, and is cancelled by its own name", async () => {
    await using rig = new Rig();
    const live = rig.spawnCoordinator(["run", rig.recipe(source("echo cleaning; sleep 5833"))]);
    await live.waitFor(/testing\n/);
    expect((await rig.coordinator(["cancel", "last", "--wait=false"])).code).toBe(0);
    await live.waitFor(/cleaning\n/);
    await rig.coordinator(["cancel", "last/stop"]);
    const { code, text } = await live.ended;
    expect(code).toBe(130);
    expect(text).toMatch(/stop {2}│ ■ cancelled/);
  });
});

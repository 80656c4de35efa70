import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;
const chain = recipe(`const fetch = job({ run: "echo fetched" });
  const build = job({ needs: [fetch], run: "echo packed" });
  export default recipe({ fetch, build, test: job({ needs: [build], run: "echo tested" }), lint: job({ run: "exit 3" }) });`);

describe("coordinator run with jobs", () => {
  it("runs those and what they need, those alone, or all but some", async () => {
    await using rig = new Rig();
    const path = rig.recipe(chain);
    const outcomes = async (...args: string[]): Promise<string> => {
      const { code, text } = await rig.coordinator(["run", path, ...args]);
      expect(code).toBe(0);
      return [...text.matchAll(/│ (\w+ed)$/gm)].map(([, word]) => word).join(" ");
    };
    expect(await outcomes("build")).toBe("fetched packed");
    expect(await outcomes("--only", "test", "--only", "fetch")).toBe("fetched tested");
    expect(await outcomes("--skip", "lint", "--skip=build")).toBe("fetched tested");
    const wrong = await rig.coordinator(["run", path, "buidl"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("hint: Did you mean build?");
  });

  it("shows their plan, and runs nothing", async () => {
    await using rig = new Rig();
    const path = rig.recipe(chain);
    expect((await rig.coordinator(["run", path, "build", "--graph", "dot"])).text).toContain('"fetch" -> "build";');
    expect((await rig.coordinator(["run", path, "build", "--graph", "mermaid"])).text).toMatch(/^flowchart LR\n/);
    const { text } = await rig.coordinator(["run", path, "build", "--dry-run", "--format", "json"]);
    const { jobs } = JSON.parse(text) as { jobs: { name: string; location: { line: number } }[] };
    expect(jobs.map(({ name, location }) => [name, location.line])).toEqual([
      ["fetch", 2],
      ["build", 3],
    ]);
    expect((await rig.coordinator(["runs"])).text).not.toContain("recipe.ts");
  });

  it("goes on with those alone when its coordinator was killed", async () => {
    await using rig = new Rig();
    await rig.pairedRunner();
    const gate = join(rig.folder, "gate");
    execFileSync("mkfifo", [gate]);
    const path = rig.recipe(
      recipe(`const slow = job({ env: { GATE: ${JSON.stringify(gate)} }, run: "echo up; read x < $GATE" });
      export default recipe({ slow, after: job({ needs: [slow], run: "echo after" }), other: job({ run: "exit 3" }) });`),
    );
    const live = rig.spawnCoordinator(["run", path, "after"]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGKILL");
    await live.ended;
    const resumed = rig.spawnCoordinator(["resume", "last"]);
    await resumed.waitFor(/goes on: 2 jobs/);
    writeFileSync(gate, "go\n");
    const { code, text } = await resumed.ended;
    expect(text).toContain("run passed: 2 passed");
    expect(code).toBe(0);
  });
});

describe("a job that fails", () => {
  const failing = (gate: string): string =>
    recipe(`const env = { GATE: ${JSON.stringify(gate)} };
    export default recipe({
      slow: job({ env, run: "echo up; read x < $GATE; echo done" }),
      bad: job({ env, run: "echo bad; read x < $GATE; exit 3" }),
    });`);

  it("ends the run with --fail-fast", async () => {
    await using rig = new Rig();
    const gates = [join(rig.folder, "slow"), join(rig.folder, "bad")];
    for (const gate of gates) execFileSync("mkfifo", [gate]);
    const source = failing(gates[0] as string).replace(
      "bad: job({ env,",
      `bad: job({ env: { GATE: ${JSON.stringify(gates[1])} },`,
    );
    const live = rig.spawnCoordinator(["run", rig.recipe(source), "--fail-fast", "-j", "2"]);
    await live.waitFor(/│ up/);
    await live.waitFor(/│ bad/);
    writeFileSync(gates[1] as string, "go\n");
    const { code, text } = await live.ended;
    expect(code).toBe(1);
    expect(text).toContain("cancelling: bad failed");
    expect(text).toMatch(/^slow +│ ■ cancelled: cancelled by the run/m);
    expect(text).toContain("run failed: 1 failed, 1 cancelled");
  });

  it("ends nothing else without it, which --keep-going says too", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(`export default recipe({ bad: job({ run: "exit 3" }), good: job({ run: "echo fine" }) });`),
    );
    const { code, text } = await rig.coordinator(["run", path, "-j", "1", "--keep-going"]);
    expect(code).toBe(1);
    expect(text).toContain("run failed: 1 failed, 1 passed");
    expect((await rig.coordinator(["run", path, "--keep-going", "--fail-fast"])).code).toBe(2);
  });
});

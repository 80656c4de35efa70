// Secrets and stdin of jobs, through real runners.
import { execFileSync } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, secret, sh } from "sortie";\n${body}\n`;
const VALUE = "correct-horse\nbattery-staple";

describe("a job with a secret", () => {
  it("has it, and nothing else does: no plan, no event, no record", async () => {
    await using rig = new Rig();
    await rig.pairedRunner();
    const path = rig.recipe(
      recipe(`const env = { TOKEN: secret("CI_TOKEN") };
      const hash = "printf %s \\"$TOKEN\\" | sha256sum";
      export default recipe({
        command: job({ env, run: hash }),
        driven: job({ env, run: async ({ $ }) => ({ later: job({ env, run: (await $\`true\`, hash) }) }) }),
      });`),
    );
    const env = { CI_TOKEN: VALUE };
    const text: string[] = [];
    for (const args of [["--dry-run"], ["--dry-run", "--format", "json"], ["--format", "json"], []]) {
      const { code, stdout, stderr } = await rig.coordinator(["run", path, ...args], { env });
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      text.push(stdout.toString());
    }
    const hash = createHash("sha256").update(VALUE).digest("hex");
    expect(text.at(-1)).toMatch(new RegExp(`command +│ ${hash}`));
    expect(text.at(-1)).toMatch(new RegExp(`driven\\.later +│ ${hash}`));
    text.push((await rig.coordinator(["show", "last", "--json"])).text);
    const kept = readdirSync(rig.home, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => readFileSync(join(entry.parentPath, entry.name), "latin1"));
    expect(kept.length).toBeGreaterThan(3);
    for (const part of VALUE.split("\n")) expect([...text, ...kept].filter((one) => one.includes(part))).toEqual([]);
  });

  it("keeps the run from beginning where it is missing, with the job's name; a plan can be seen without", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(
        `export default recipe({ other: job({ run: "true" }), deploy: job({ env: { T: secret("CI_TOKEN") }, run: "true" }) });`,
      ),
    );
    const { code, stdout, stderr } = await rig.coordinator(["run", path]);
    expect({ code, stdout: stdout.toString() }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toContain("error[SECRET_MISSING]: deploy asks for the secret CI_TOKEN, which is not set here.");
    expect(stderr).toContain("recipe.ts:2");
    expect((await rig.coordinator(["runs"])).text).toContain("No run yet");
    expect((await rig.coordinator(["run", path, "--dry-run"])).code).toBe(0);
    expect((await rig.coordinator(["run", path, "other"])).code).toBe(0);
  });

  it("is masked by GitHub before anything else is printed", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(`export default recipe({ one: job({ env: { T: secret("CI_TOKEN") }, run: "true" }) });`),
    );
    const { text } = await rig.coordinator(["run", path, "--format", "github"], { env: { CI_TOKEN: VALUE } });
    expect(text.split("\n").slice(0, 2)).toEqual(["::add-mask::correct-horse", "::add-mask::battery-staple"]);
  });
});

describe("a job with stdin", () => {
  it("reads a text, or a file of the coordinator's machine", async () => {
    await using rig = new Rig();
    await rig.pairedRunner();
    const path = rig.recipe(
      recipe(`export default recipe({
        text: job({ stdin: "one\\ntwo\\n", run: ["tac"] }),
        file: job({ stdin: { file: "words.txt" }, run: "read first; echo $first; cat" }),
        none: job({ run: "cat; echo nothing" }),
      });`),
    );
    const missing = await rig.coordinator(["run", path, "--dry-run"]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toMatch(/file reads \S+words\.txt, which is not there/);
    writeFileSync(join(rig.folder, "project", "words.txt"), "three\nfour\n");
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(0);
    const lines = (job: string): string[] =>
      [...text.matchAll(new RegExp(`^${job} +│ (one|two|three|four|nothing)$`, "gm"))].map(([, line = ""]) => line);
    expect([lines("text"), lines("file"), lines("none")]).toEqual([["two", "one"], ["three", "four"], ["nothing"]]);
  });

  it("goes on reading where it was when its coordinator is killed and the run resumed", async () => {
    await using rig = new Rig();
    await rig.pairedRunner();
    const gate = join(rig.folder, "gate");
    execFileSync("mkfifo", [gate]);
    const bytes = randomBytes(20 * 1024 * 1024);
    const path = rig.recipe(
      recipe(`export default recipe({ big: job({
        env: { GATE: ${JSON.stringify(gate)} }, stdin: { file: "big.bin" },
        run: "head -c 7000000 > part; echo up; read x < $GATE; cat part - | sha256sum" }) });`),
    );
    writeFileSync(join(rig.folder, "project", "big.bin"), bytes);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGKILL");
    await live.ended;
    const resumed = rig.spawnCoordinator(["resume", "last"]);
    await resumed.waitFor(/goes on: 1 job/);
    writeFileSync(gate, "go\n");
    const { code, text } = await resumed.ended;
    expect(text).toContain(createHash("sha256").update(bytes).digest("hex"));
    expect(code).toBe(0);
  });
});

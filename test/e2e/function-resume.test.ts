// A run with functions whose coordinator is killed, and what `resume` makes of it: functions are called again, in the order of
// the recipe, and jobs that they gave are neither lost, nor run twice, nor mistaken for others.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Live, Rig } from "../rig/rig.ts";

const head = 'import { job, recipe, secret, sh } from "sortie";\n';
const runIdIn = (text: string): string => /run (\w{12})/.exec(text)?.[1] ?? "";

/** Kills the coordinator without a word, and gives its run. */
async function kill(live: Live): Promise<string> {
  const run = runIdIn(live.stdout());
  live.child.kill("SIGKILL");
  await live.ended;
  return run;
}

describe("a function that is resumed", () => {
  it("is called only once what it needs has run again", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
    const path = rig.recipe(`${head}
      const giver = job({ run: async ({ $ }) => { await $\`sleep 1\`; return { w: job({ run: "echo w", output: "text" }) }; } });
      const report = job({ needs: [giver], run: async ({ $, needs: [g], log }) => { log("SEES", g.outcome, g.output.w.output); await $\`sleep 2\`; } });
      export default recipe({ giver, report });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/SEES passed w/);
    const resumed = await rig.coordinator(["resume", await kill(live)]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(resumed.text.match(/SEES .*/g)).toEqual(["SEES passed w"]);
  });

  it("is called again however often its coordinator was killed", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const file = join(rig.folder, "enough");
    const path = rig.recipe(`${head}
      export default recipe({ a: job({ run: async ({ $ }) => { await $\`echo up; test -e \${${JSON.stringify(file)}} || sleep 4971\`; } }) });`);
    let live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ up/);
    let run = await kill(live);
    for (let time = 0; time < 3; time++) {
      live = rig.spawnCoordinator(["resume", run]);
      await live.waitFor(/│ up/);
      run = await kill(live);
    }
    writeFileSync(file, "");
    const last = await rig.coordinator(["resume", run]);
    expect([last.code, last.stderr]).toEqual([0, ""]);
    expect(last.text).toContain("started on w1, attempt 5");
  });

  it("is run again with its secrets masked before, and not without them, where it gave jobs", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
    const path = rig.recipe(`${head}
      const giver = job({ env: { TOKEN: secret("TOKEN") }, run: () => ({ slow: job({ run: "echo up; sleep 3" }) }) });
      export default recipe({ giver });`);
    const env = { TOKEN: "correct-horse" };
    const live = rig.spawnCoordinator(["run", path], { env });
    await live.waitFor(/│ up/);
    const run = await kill(live);
    const without = await rig.coordinator(["resume", run]);
    expect([without.code, without.stderr]).toEqual([2, expect.stringContaining("SECRET_MISSING")]);
    const resumed = await rig.coordinator(["resume", run, "--format", "github"], { env });
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(resumed.text.split("\n")[0]).toBe("::add-mask::correct-horse");
  });
});

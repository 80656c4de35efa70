// A run with functions whose coordinator is killed, and what `resume` makes of it: functions are called again, in the order of
// the recipe, and jobs that they gave are neither lost, nor run twice, nor mistaken for others.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Live, Rig, until } from "../rig/rig.ts";

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
  it("is called only once what it needs has run again, also where both are of one group", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
    const path = rig.recipe(`${head}
      const giver = job({ concurrency: "one", run: async ({ $ }) => { await $\`sleep 1\`; return { w: job({ run: "echo w", output: "text" }) }; } });
      const report = job({ needs: [giver], concurrency: "one", run: async ({ $, needs: [g], log }) => { log("SEES", g.outcome, g.output.w.output); await $\`sleep 2\`; } });
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
      export default recipe({ a: job({ run: async ({ $ }) => { await $\`echo up; test -e \${${JSON.stringify(file)}} || sleep 4985\`; } }) });`);
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

describe("jobs that a function gave before its coordinator was killed", () => {
  const waitFor = (file: string): string => `until test -e ${file}; do sleep 0.1; done`;

  it("keep their lease while the function runs once more, and go on where they are", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
    const [again, done, ran] = ["again", "done", "ran"].map((name) => join(rig.folder, name)) as [
      string,
      string,
      string,
    ];
    const path = rig.recipe(`${head}
      const giver = job({ run: async ({ $ }) => {
        await $\`test -e ${again} || exit 0; sleep 8; touch ${done}\`;
        return { slow: job({ lease: "6s", run: "echo ran >> ${ran}; echo up; ${waitFor(done)}; echo end", output: "lines" }) };
      } });
      const after = job({ needs: [giver], run: ({ needs: [one], log }) => log("SEES", one.output.slow.output) });
      export default recipe({ giver, after });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/giver.slow │ up/);
    const run = await kill(live);
    writeFileSync(again, "");
    const resumed = await rig.coordinator(["resume", run]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(resumed.text).toContain("SEES [ 'up', 'end' ]");
    expect((await rig.coordinator(["logs", `${run}/giver.slow`])).text).toBe("up\nend\n");
    expect(readFileSync(ran, "utf8")).toBe("ran\n");
  });

  it("do not keep it from its only slot where their functions are gone", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const file = join(rig.folder, "enough");
    const path = rig.recipe(`${head}
      const giver = job({ run: () => ({ call: job({ lease: "none", run: async ({ $ }) => { await $\`echo up; test -e ${file} || sleep 4986\`; } }) }) });
      export default recipe({ giver });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/giver.call │ up/);
    const run = await kill(live);
    writeFileSync(file, "");
    const resumed = await rig.coordinator(["resume", run]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(resumed.text).toMatch(/giver.call │ ✔ passed/);
  });

  it("are ended once it has not given them again, while the run goes on", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "3"]);
    const [again, done] = [join(rig.folder, "again"), join(rig.folder, "done")];
    const path = rig.recipe(`${head}
      import { existsSync } from "node:fs";
      const giver = job({ run: () => (existsSync("${again}") ? undefined : { long: job({ lease: "none", run: "echo up; sleep 4987" }) }) });
      const other = job({ run: "${waitFor(done)}" });
      export default recipe({ giver, other });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/giver.long │ up/);
    const run = await kill(live);
    writeFileSync(again, "");
    const resumed = rig.spawnCoordinator(["resume", run]);
    await resumed.waitFor(/giver +│ ✔ passed/);
    const busy = await until(
      async () => JSON.parse((await rig.coordinator(["runners", "--json"])).text)[0].busy,
      (count) => count === 1,
    );
    expect(busy).toBe(1);
    writeFileSync(done, "");
    expect((await resumed.ended).code).toBe(0);
  });

  it("are run anew where it gives others of the same names", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "3"]);
    const again = join(rig.folder, "again");
    const path = rig.recipe(`${head}
      import { existsSync } from "node:fs";
      const giver = job({ run: () => existsSync("${again}")
        ? { quick: job({ run: "echo quick two" }), slow: job({ run: "echo slow two" }), same: job({ run: "echo same; sleep 0.1" }) }
        : { quick: job({ run: "echo quick one" }), slow: job({ run: "echo slow one; sleep 4988" }), same: job({ run: "echo same; sleep 0.1" }) } });
      export default recipe({ giver });`);
    const live = rig.spawnCoordinator(["run", path]);
    for (const pattern of [/slow one/, /giver.quick │ ✔/, /giver.same +│ ✔/]) await live.waitFor(pattern);
    // Rows are written within a moment.
    await until(
      async () => (await rig.coordinator(["show", "last"])).text,
      (text) => /giver.quick +passed/.test(text) && /giver.same +passed/.test(text),
    );
    const run = await kill(live);
    writeFileSync(again, "");
    const resumed = await rig.coordinator(["resume", run]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    const wrote = await Promise.all(
      ["quick", "slow", "same"].map(async (name) => (await rig.coordinator(["logs", `${run}/giver.${name}`])).text),
    );
    expect(wrote).toEqual(["quick two\n", "slow two\n", "same\n"]);
    expect(resumed.text).not.toContain("giver.same │ started");
  });
});

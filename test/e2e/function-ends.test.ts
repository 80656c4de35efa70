// How jobs that functions drive end: what comes late, what never comes, what comes twice, and what cannot be.
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";
import { endsIn } from "../rig/run-events.ts";

const head = 'import { job, recipe, sh } from "sortie";\nimport * as v from "valibot";\n';

describe("a job that a function drives", () => {
  it("has in its log what its commands wrote last, also where the function threw before", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      export default recipe({ work: job({ grace: "1m", async run({ $ }) {
        const up = Promise.withResolvers();
        const last = (async () => { for await (const line of $\`trap 'head -c 3000000 /dev/zero | tr "\\0" x; echo; echo BYE; exit 0' TERM; echo up; while :; do sleep 0.05; done\`.lines()) if (line === "up") up.resolve(); })();
        last.catch(() => {});
        await up.promise;
        await $\`exit 3\`;
      } }) });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect([run.code, endsIn(run.text).get("work")?.exit?.code]).toEqual([1, 3]);
    const logs = await rig.coordinator(["logs", "last/work"]);
    expect(logs.text).toMatch(/^BYE$/m);
    expect(logs.text.length).toBeGreaterThan(3_000_000);
    const shown = JSON.parse((await rig.coordinator(["show", "last", "--json"])).text);
    expect(shown.jobs[0].attempts).toMatchObject([{ log: "complete" }]);
  });

  it("is over when its time is up, though its function never is", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}export default recipe({
      never: job({ timeout: "300ms", run: () => new Promise(() => {}) }),
      held: job({ timeout: "300ms", async run({ $ }) { for await (const _ of $\`yes\`.lines()) await new Promise(() => {}); } }),
    });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect([run.code, run.stderr]).toEqual([1, ""]);
    for (const name of ["never", "held"])
      expect(endsIn(run.text).get(name)).toMatchObject({ outcome: "failed", exit: { reason: "timeout" } });
  });

  it("fails by what it logs too fast; the others go on", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}export default recipe({
      much: job({ run({ log }) { const line = "x".repeat(1_000_000); for (let i = 0; i < 40; i++) log(line); } }),
      other: job({ run: "sleep 0.5; echo fine" }),
    });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect(run.code).toBe(1);
    const ends = endsIn(run.text);
    expect(ends.get("much")).toMatchObject({ outcome: "failed", message: expect.stringContaining("await it") });
    expect(ends.get("other")).toMatchObject({ outcome: "passed" });
  });

  it("fails by an output that cannot be told to others", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      const odd = { name: "odd", "~standard": { version: 1, vendor: "test", validate: (value) => { if (value === 1) throw new Error("not one"); return { value: value === 2 ? 2n : value }; } } };
      const shared = job({ run: () => ({ list: ["one"] }) });
      export default recipe({
        throws: job({ run: "echo 1", output: odd }),
        big: job({ run: "echo 2", output: odd }),
        fine: job({ run: "echo 3", output: odd }),
        mixed: job({ run: () => ({ web: job({ run: "true" }), count: 3 }) }),
        list: job({ run: () => [job({ run: "true" })] }),
        shared,
        changes: job({ needs: [shared], run: ({ needs: [one] }) => { one.output.list.push("two"); } }),
      });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect(run.code).toBe(1);
    const ends = endsIn(run.text);
    expect(ends.get("throws")).toMatchObject({ outcome: "failed", message: "its output's schema threw not one" });
    expect(ends.get("big")).toMatchObject({ outcome: "failed", message: expect.stringContaining("cannot be JSON") });
    expect(ends.get("fine")).toMatchObject({ outcome: "passed", output: 3 });
    expect(ends.get("mixed")).toMatchObject({
      outcome: "failed",
      message: expect.stringContaining('"count" is not a job'),
    });
    expect(ends.get("list")).toMatchObject({ outcome: "failed", message: expect.stringContaining("object of jobs") });
    expect(ends.get("changes")).toMatchObject({ outcome: "failed", message: expect.stringContaining("TypeError") });
  });

  it("is not called where the run was cancelled before it started", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}export default recipe({
      first: job({ priority: 1, run: "exit 1" }),
      second: job({ run() { console.error("CALLED"); } }),
    });`);
    const run = await rig.coordinator(["run", path, "--jobs", "1", "--fail-fast", "--format", "json"]);
    expect(run.code).toBe(1);
    expect(run.stderr).not.toContain("CALLED");
    expect(endsIn(run.text).get("second")).toMatchObject({ outcome: "cancelled" });
  });
});

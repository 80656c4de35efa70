// Functions that drive their jobs' runners, through the built commands: what they see, what they start, and what becomes
// of it when either side goes away.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, until } from "../rig/rig.ts";
import { type EndedJob, endsIn } from "../rig/run-events.ts";

const head = 'import { job, matrix, recipe, sh } from "sortie";\nimport * as v from "valibot";\n';
const ALLOWED = ["-A", "--slots", "4"];

const runIdIn = (text: string): string => /run (\w{12})/.exec(text)?.[1] ?? "";

describe("a function", () => {
  it("sees what came of the jobs it needs, and gives what those that need it see", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      const version = job({ run: "echo 1.2.3; echo careful >&2", output: "text" });
      const list = job({ run: "printf 'a\\\\nb\\\\n'", output: "lines" });
      const pkg = job({ run: ["echo", '{"name":"web","size":3}'], output: v.object({ name: v.string(), size: v.number() }) });
      const wrong = job({ run: ["echo", '{"name":4}'], output: v.object({ name: v.string() }), allowFailure: true });
      const cells = matrix({ n: [1, 2] }, ({ n }) => job({ run: () => n * 10 }));
      const sees = job({ needs: [version, list, pkg, wrong, cells], run: ({ needs: [a, b, c, d, e], params, env }) =>
        ({ a, b: b.output, c: c.output, d, e: Object.fromEntries(Object.entries(e).map(([cell, one]) => [cell, one.output])), params, home: env.SORTIE_HOME !== undefined }) });
      const nothing = job({ run: () => {} });
      const unspeakable = job({ run: () => 3n, allowFailure: true });
      export default recipe({ params: v.object({ word: v.optional(v.string(), "none") }), jobs: () => ({ version, list, pkg, wrong, cells, sees, nothing, unspeakable }) });`);
    const run = await rig.coordinator(["run", path, "--format", "json", "--set", "word=given"]);
    expect(run.stderr).toBe("");
    expect(run.code).toBe(0);
    const ends = endsIn(run.text);
    expect(ends.get("sees")?.output).toMatchObject({
      a: { outcome: "passed", code: 0, output: "1.2.3", stderr: "careful\n" },
      b: ["a", "b"],
      c: { name: "web", size: 3 },
      d: { outcome: "failed" },
      e: { "n=1": 10, "n=2": 20 },
      params: { word: "given" },
      home: true,
    });
    expect(ends.get("wrong")).toMatchObject({ outcome: "failed", message: expect.stringMatching(/schema.*name: /) });
    expect(ends.get("nothing")).not.toHaveProperty("output");
    expect(ends.get("unspeakable")).toMatchObject({ outcome: "failed", message: expect.stringContaining("BigInt") });
  });

  for (const where of ["on this machine", "on a runner"] as const) {
    it(`runs all its commands in one place, and its log holds what they wrote (${where})`, async () => {
      await using rig = new Rig();
      if (where === "on a runner") await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
      const path = rig.recipe(`${head}
        export default recipe({ work: job({ env: { A: "1" }, async run({ $, log, workspace }) {
          await $\`echo shown; echo aside >&2; echo \${"it's $HOME"} > file\`;
          const text = await $\`cat file; pwd; echo "$A$B"\`.env({ B: "2" }).text();
          log("read", text.split("\\n"), workspace === text.split("\\n")[1]);
          const [a, b] = await Promise.all([$\`cat file\`.quiet().text(), $(["pwd"]).cwd("/").text()]);
          log(a === "it's $HOME", b, (await $\`exit 3\`.nothrow()).code);
          for await (const line of $\`seq 100000\`.lines()) if (line === "3") break;
          return await $\`cat\`.stdin("given").text();
        } }) });`);
      const run = await rig.coordinator(["run", path]);
      expect([run.code, run.stderr]).toEqual([0, ""]);
      expect(run.text).toMatch(/^work │ shown\nwork │ aside|^work │ aside\nwork │ shown/m);
      expect(run.text).toMatch(
        /work │ read \[\nwork │ {3}"it's \$HOME",\nwork │ {3}'\/.*',\nwork │ {3}'12'\nwork │ \] true/,
      );
      expect(run.text).toContain("work │ true / 3");
      expect(run.text).not.toContain("work │ given");
      const logs = await rig.coordinator(["logs", "last/work"]);
      expect(logs.code).toBe(0);
      expect(logs.stderr).toBe("aside\n");
      expect(logs.text).toContain("shown\n");
      expect(logs.text.endsWith("given")).toBe(true);
      const shown = JSON.parse((await rig.coordinator(["show", "last", "--json"])).text);
      expect(shown.jobs[0].attempts).toMatchObject([{ log: "complete" }]);
    });
  }

  it("fails with the command that failed, the recipe's line and that command's code", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      const bad = job({ async run({ $ }) {
        await $\`echo why >&2; exit 7\`;
      } });
      const thrown = job({ run() {
        throw new TypeError("not like this");
      } });
      const forgotten = job({ run({ $ }) { void $\`exit 4\`; } });
      const after = job({ needs: [bad], run: "true" });
      export default recipe({ bad, thrown, forgotten, after });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect(run.code).toBe(1);
    const ends = endsIn(run.text);
    expect(ends.get("bad")).toMatchObject({
      outcome: "failed",
      exit: { code: 7 },
      message: `echo why >&2; exit 7: exit 7 (${path}:5:16)`,
    });
    expect(ends.get("thrown")).toMatchObject({
      outcome: "failed",
      exit: { code: 1 },
      message: expect.stringContaining(`TypeError: not like this (${path}:8:`),
    });
    expect(ends.get("forgotten")).toMatchObject({ outcome: "failed", exit: { code: 4 } });
    expect(ends.get("after")).toMatchObject({ outcome: "skipped" });
  });

  it("pipes between two runners, no faster than the slower one, with both exit codes", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1", "--label", "db=production"]);
    await rig.pairedRunner("w2", ["-A", "--slots", "1", "--label", "db=staging"]);
    const path = rig.recipe(`${head}
      const copy = job({
        on: { db: "staging" },
        also: { source: { on: { db: "production" } } },
        async run({ $, also: { source } }) {
          const done = await source\`head -c 16000000 /dev/zero; exit 5\`.nothrow().pipe($\`wc -c > count; exit 6\`.nothrow());
          return [await $\`cat count; echo $SORTIE_RUNNER\`.text(), done.piped[0].code, done.code];
        },
      });
      export default recipe({ copy });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect([run.code, run.stderr]).toEqual([0, ""]);
    const [count, ...codes] = (endsIn(run.text).get("copy") as EndedJob).output as [string, number, number];
    expect(count).toMatch(/^16000000\b/);
    expect(codes).toEqual([5, 6]);
    // The pipe's bytes are not the job's output.
    expect((await rig.coordinator(["logs", "last/copy"])).stdout.length).toBeLessThan(1_000);
    const alone = await rig.coordinator(["run", path, "--local"]);
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringContaining("SELECTOR_UNKNOWN")]);
  });

  it("ends what it started when it is cancelled, times out, or forgets its commands", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const path = rig.recipe(`${head}
      const slow = job({ timeout: "500ms", async run({ $, signal }) {
        signal.addEventListener("abort", () => console.error("told"));
        await $\`sleep 5951\`;
      } });
      const deaf = job({ timeout: "500ms", async run({ $ }) { await $\`sleep 5952\`.nothrow(); await $\`echo never\`; } });
      export default recipe({ slow, deaf });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect(run.code).toBe(1);
    const ends = endsIn(run.text);
    expect(ends.get("slow")).toMatchObject({ outcome: "failed", exit: { reason: "timeout" } });
    expect(ends.get("deaf")).toMatchObject({ outcome: "failed", exit: { reason: "timeout" } });
    expect(run.text).not.toContain('"never');

    const wait = rig.recipe(
      `${head}export default recipe({ wait: job({ async run({ $ }) { await $\`echo up; sleep 5953\`; } }) });`,
    );
    const live = rig.spawnCoordinator(["run", wait]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
  });
});

describe("jobs that a function gives", () => {
  const found = (file: string): string => `${head}
    const discover = job({ async run({ $ }) {
      const names = await $\`echo a; echo b; echo c\`.text();
      return Object.fromEntries(names.split("\\n").map((name) => [name, job({ run: sh\`echo made \${name}; \${name === "b" ? ["test", "-e", ${JSON.stringify(file)}] : ["true"]}\`, output: "text" })]));
    } });
    const before = job({ needs: [discover], always: true, run: ({ needs: [all] }) => Object.fromEntries(Object.entries(all.output ?? {}).map(([name, one]) => [name, one.outcome])) });
    const report = job({ needs: [discover], run: ({ needs: [all] }) => Object.values(all.output).map((one) => one.output) });
    export default recipe({ discover, before, report });`;

  it("join the run: whatever needs that job waits for them, and every view has them", async () => {
    await using rig = new Rig();
    const path = rig.recipe(found(rig.folder));
    const junit = join(rig.folder, "junit.xml");
    const run = await rig.coordinator(["run", path, "--junit", junit, "--timings"]);
    expect([run.code, run.stderr]).toEqual([0, ""]);
    expect(run.text).toContain("discover gave 3 jobs: discover.a, discover.b, discover.c\n");
    expect(run.text).toMatch(/run passed: 6 passed/);
    expect(run.text).toMatch(/^discover\.b +/m);
    expect(readFileSync(junit, "utf8")).toContain('name="discover.c"');
    const shown = (await rig.coordinator(["show", "last"])).text;
    for (const name of ["discover.a", "discover.b", "discover.c", "report"]) expect(shown).toContain(name);
    expect((await rig.coordinator(["logs", "last/discover.b"])).text).toBe("made b\n");
    const json = await rig.coordinator(["run", path, "--format", "json"]);
    expect(endsIn(json.text).get("report")?.output).toEqual(["made a", "made b", "made c"]);
    expect(json.text).toContain('{"type":"jobs-joined"');
  });

  it("fail and skip what waits for them, and a run that goes on gives them again", async () => {
    await using rig = new Rig();
    const file = join(rig.folder, "mended");
    const path = rig.recipe(found(file));
    const first = await rig.coordinator(["run", path, "--format", "json"]);
    expect(first.code).toBe(1);
    const ends = endsIn(first.text);
    expect(ends.get("discover.b")).toMatchObject({ outcome: "failed" });
    expect(ends.get("report")).toMatchObject({ outcome: "skipped", message: "discover.b failed" });
    expect(ends.get("before")?.output).toEqual({ a: "passed", b: "failed", c: "passed" });
    writeFileSync(file, "");
    const second = await rig.coordinator(["run", path, "--from", "report"]);
    expect([second.code, second.stderr]).toEqual([0, ""]);
    expect(second.text).toMatch(/run passed: 6 passed/);
  });

  it("are refused where they would wait for themselves, or have no name", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      const later = job({ needs: [], run: "true" });
      const circle = job({ run: () => ({ one: job({ needs: [waits], run: "true" }) }) });
      const named = job({ run: () => ({ "no name": job({ run: "true" }) }) });
      const twice = job({ run: () => ({ later }) });
      const waits = job({ needs: [circle], run: "true" });
      export default recipe({ later, circle, named, twice, waits });`);
    const run = await rig.coordinator(["run", path, "--format", "json"]);
    expect(run.code).toBe(1);
    const ends = endsIn(run.text);
    expect(ends.get("circle")?.message).toContain("circle.one needs waits, which waits for circle");
    expect(ends.get("named")?.message).toContain("cannot be a job's name");
    expect(ends.get("twice")?.message).toContain("the run has that job already, as later");
    expect(ends.get("waits")).toMatchObject({ outcome: "skipped" });
  });
});

describe("a condition", () => {
  it("sees needs, params and the environment; a job without is skipped, and the run passes", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`${head}
      const changed = job({ run: "echo yes", output: "text" });
      const build = job({ needs: [changed], if: ({ needs: [one], env }) => one.output === "yes" && env.BUILD === "1", run: "echo built" });
      const ship = job({ needs: [build], run: "echo shipped" });
      const odd = job({ if: () => "yes", run: "true", allowFailure: true });
      const nowhere = job({ on: { planet: "mars" }, if: ({ params }) => params.far === true, run: "true" });
      export default recipe({ params: v.object({ far: v.optional(v.boolean(), false) }), jobs: () => ({ changed, build, ship, odd, nowhere }) });`);
    const off = await rig.coordinator(["run", path]);
    expect([off.code, off.stderr]).toEqual([0, ""]);
    expect(off.text).toContain("build   │ - skipped: its `if` says no");
    expect(off.text).toContain("ship    │ - skipped: build was skipped");
    expect(off.text).toContain("not true or false");
    expect(off.text).toContain("nowhere │ - skipped: its `if` says no");
    const on = await rig.coordinator(["run", path], { env: { BUILD: "1" } });
    expect(on.text).toContain("ship    │ shipped");
  });
});

describe("a function whose coordinator is killed", () => {
  it("is called once more by resume; jobs that it gave are taken up where they are", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const ran = join(rig.folder, "ran");
    const path = rig.recipe(`${head}
      const discover = job({ async run({ $ }) {
        await $\`echo discover >> \${${JSON.stringify(ran)}}\`;
        return {
          quick: job({ run: sh\`echo quick >> \${${JSON.stringify(ran)}}\` }),
          slow: job({ run: sh\`echo slow >> \${${JSON.stringify(ran)}}; for i in 1 2 3 4 5 6 7 8 9 10; do echo tick $i; sleep 0.3; done\` }),
        };
      } });
      const after = job({ needs: [discover], run: ({ needs: [d] }) => Object.keys(d.output) });
      export default recipe({ discover, after });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/tick 2\n/);
    await until(
      () => live.stdout(),
      (text) => /discover.quick │ ✔/.test(text),
    );
    const run = runIdIn(live.stdout());
    live.child.kill("SIGKILL");
    await live.ended;
    const resumed = await rig.coordinator(["resume", run]);
    expect([resumed.code, resumed.stderr]).toEqual([0, ""]);
    expect(readFileSync(ran, "utf8").trim().split("\n").sort()).toEqual(["discover", "discover", "quick", "slow"]);
    expect((await rig.coordinator(["logs", `${run}/discover.slow`])).text).toBe(
      Array.from({ length: 10 }, (_, index) => `tick ${index + 1}\n`).join(""),
    );
  });

  it("leaves nothing running on any of its places once the run is cancelled", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    await rig.pairedRunner("w2", ["-A", "--slots", "1"]);
    const path =
      rig.recipe(`${head}export default recipe({ both: job({ on: { runner: "w1" }, also: { other: { on: { runner: "w2" } } }, async run({ $, also }) {
      await Promise.all([$\`echo here; sleep 5961\`, also.other\`echo there; sleep 5962\`]);
    } }) });`);
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ here/);
    await live.waitFor(/│ there/);
    const run = runIdIn(live.stdout());
    live.child.kill("SIGKILL");
    await live.ended;
    expect((await rig.coordinator(["cancel", run])).code).toBe(0);
    const busy = await until(
      async () =>
        JSON.parse((await rig.coordinator(["runners", "--json"])).text).map((one: { busy: number }) => one.busy),
      (counts) => counts.every((count: number) => count === 0),
    );
    expect(busy).toEqual([0, 0]);
  });
});

// A run that fails in the middle, is mended, and goes on from there.
import { appendFileSync, existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

/** Each job writes its name down when it runs; `test` fails until there is a file `mended`. */
const source = (rig: Rig, ship = "ship"): string => `import { job, recipe } from "sortie";
import * as v from "valibot";
const run = (name, more = "true") => ({ env: { FILE: ${JSON.stringify(join(rig.folder, "ran"))}, NAME: name }, run: 'echo $NAME >> "$FILE"; ' + more });
export default recipe({
  params: v.object({ word: v.optional(v.string(), "none") }),
  jobs: ({ word }) => {
    const build = job(run("build", "echo built " + word));
    const lint = job(run("lint"));
    const test = job({ needs: [build], ...run("test", ${JSON.stringify(`test -e '${join(rig.folder, "mended")}'`)}) });
    const ship = job({ needs: [test, lint], ...run("${ship}") });
    return { build, lint, test, ship };
  },
});
`;

describe("a run that goes on from an earlier one", () => {
  it("keeps what passed, runs the rest, and tells it in every view and in the record", async () => {
    await using rig = new Rig();
    const path = rig.recipe(source(rig));
    const ran = (): string => {
      const file = join(rig.folder, "ran");
      const names = existsSync(file) ? readFileSync(file, "utf8").trim().split("\n").sort().join(" ") : "";
      writeFileSync(file, "");
      return names;
    };
    const early = await rig.coordinator(["run", path, "--from", "test"]);
    expect(early.code).toBe(2);
    expect(early.stderr).toContain("There is no run of");

    const first = await rig.coordinator(["run", path, "--set", "word=one"]);
    expect(first.code).toBe(1);
    expect(ran()).toBe("build lint test");
    const [, id = ""] = /^run (\w+):/.exec(first.text) ?? [];
    appendFileSync(join(rig.folder, "mended"), "");

    const planned = await rig.coordinator(["run", path, "--from", "test", "--dry-run"]);
    expect(planned.text).toMatch(new RegExp(`^build\\n {2}kept: passed in the run ${id}\\n`, "m"));
    expect(ran()).toBe("");

    const second = await rig.coordinator(["run", path, "--from", "test", "--junit", join(rig.folder, "junit.xml")]);
    expect(second.stderr).toBe("");
    expect(second.code).toBe(0);
    expect(ran()).toBe("ship test");
    expect(second.text).toMatch(new RegExp(`^build │ ✔ kept: passed in the run ${id} `, "m"));
    expect(second.text).toMatch(/run passed: 2 kept, 2 passed/);
    expect(readFileSync(join(rig.folder, "junit.xml"), "utf8")).toContain(`message="kept: passed in the run ${id}"`);

    const shown = await rig.coordinator(["show", "last"]);
    expect(shown.text).toContain(`goes on from the run ${id}`);
    expect(shown.text).toContain("params word=one");
    expect(shown.text).toMatch(new RegExp(`^build +kept +passed in the run ${id}$`, "m"));
    expect((await rig.coordinator(["logs", "last/build"])).text).toBe("built one\n");
    expect((await rig.coordinator(["attach", "last"])).text).toContain("✔ kept: passed in the run");

    // From the run before the last, and by what did not pass there alone.
    const third = await rig.coordinator(["run", path, "--after", id, "--format", "json"]);
    expect(third.code).toBe(0);
    expect(ran()).toBe("ship test");
    const events = third.text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events[0]).toMatchObject({ type: "run-started", after: id });
    const ends = events.filter(({ type }) => type === "job-ended");
    expect(ends.filter(({ kept }) => kept === id).map(({ job }) => job)).toEqual(["build", "lint"]);
    // And from that one once more: whatever was kept is told with the run that it passed in.
    const fourth = await rig.coordinator(["run", path, "--from", "ship"]);
    expect(ran()).toBe("ship");
    expect(fourth.text).toMatch(new RegExp(`^build │ ✔ kept: passed in the run ${id} `, "m"));
  });

  it("is refused where a job that would be kept changed, or the run is another recipe's", async () => {
    await using rig = new Rig();
    writeFileSync(join(rig.folder, "mended"), "");
    const path = rig.recipe(source(rig));
    expect((await rig.coordinator(["run", path])).code).toBe(0);
    rig.recipe(source(rig, "deliver"));
    const same = await rig.coordinator(["run", path, "--from", "test"]);
    expect(same.code).toBe(0);
    const params = await rig.coordinator(["run", path, "--from", "test", "--set", "word=two"]);
    expect(params.code).toBe(2);
    expect(params.stderr).toContain("build is not what it was in the run");
    expect(params.stderr).toContain("hint: Run it again with --from build");
    expect((await rig.coordinator(["run", path, "--from", "build", "--set", "word=two"])).code).toBe(0);
    const other = await rig.coordinator(["run", "recipes/hello.ts", "--after", "last"]);
    expect(other.code).toBe(2);
    expect(other.stderr).toContain("recipe.ts, not of");
  });

  it("hands on what a job that is kept gave, however often", async () => {
    await using rig = new Rig();
    const mended = JSON.stringify(`test -e '${join(rig.folder, "mended")}'`);
    const path = rig.recipe(`import { job, recipe } from "sortie";
      const version = job({ run: "echo 1.2.3; exit 0", output: "text" });
      const check = job({ needs: [version], run: ${mended} });
      const ship = job({ needs: [version, check], run: async ({ needs: [version], log }) => log("ships " + version.output) });
      export default recipe({ version, check, ship });`);
    expect((await rig.coordinator(["run", path])).code).toBe(1);
    expect((await rig.coordinator(["run", path, "--from", "check"])).text).toContain("1 kept");
    writeFileSync(join(rig.folder, "mended"), "");
    const { code, text } = await rig.coordinator(["run", path, "--from", "check"]);
    expect(text).toMatch(/ship +│ ships 1\.2\.3/);
    expect(text).toContain("run passed: 1 kept, 2 passed");
    expect(code).toBe(0);
  });

  it("takes the jobs that were asked for, and the runners, from the earlier run", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--label", "zone=a"]);
    await rig.pairedRunner("w2", ["-A", "--label", "zone=b"]);
    const path = rig.recipe(source(rig));
    const first = await rig.coordinator(["run", path, "--skip", "ship", "--on", "zone=b"]);
    expect(first.code).toBe(1);
    expect([...first.text.matchAll(/started on (\w+)/g)].map(([, name]) => name)).toEqual(["w2", "w2", "w2"]);
    expect((await rig.coordinator(["show", "last"])).text).toContain("on zone=b");
    writeFileSync(join(rig.folder, "mended"), "");
    const second = await rig.coordinator(["run", path, "--after", "last"]);
    expect(second.code).toBe(0);
    expect(second.text).toMatch(/^test +│ started on w2$/m);
    expect(second.text).toMatch(/run passed: 2 kept, 1 passed/);
  });
});

describe("coordinator run --on", () => {
  it("is gone on with by resume, and refused where a job asks for something else", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--label", "zone=a"]);
    const path = rig.recipe(`import { job, recipe } from "sortie";
      export default recipe({ first: job({ run: "echo up; sleep 2" }), other: job({ on: { zone: ["a", "b"] }, run: "echo two" }) });`);
    const wrong = await rig.coordinator(["run", path, "--on", "zone=c"]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain("--on zone=c cannot be for other, which asks for zone=a|b.");
    expect((await rig.coordinator(["run", path, "--on", "zone=b"])).stderr).toContain("error[SELECTOR_UNKNOWN]");
    const live = rig.spawnCoordinator(["run", path, "--on", "zone=a"]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGKILL");
    await live.ended;
    const { code, text } = await rig.coordinator(["resume", "last"]);
    expect(text).toContain("run passed");
    expect(code).toBe(0);
  });
});

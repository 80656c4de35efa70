// `--sandbox`, through the built commands: a recipe in its own process does all that one without does, and what goes wrong there ends a
// job and not the run.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { hasEnded, processStat } from "../../protocol/process-stat.ts";
import { processesOf } from "../rig/processes.ts";
import { type Ended, Rig, until } from "../rig/rig.ts";
import { endsIn } from "../rig/run-events.ts";

const head = 'import { job, matrix, recipe, sh } from "sortie";\nimport * as v from "valibot";\n';

/** In a folder of its own, which is not the one that the rig's keys are in. */
function recipeIn(rig: Rig, text: string): string {
  const path = join(dirname(rig.recipe("", "empty.ts")), "project/recipe.ts");
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, head + text);
  return path;
}
const modules = join(import.meta.dirname, "../../node_modules");
const SANDBOX = ["--sandbox", `--allow-read=${modules}`];

const ENDS = `
  const version = job({ run: "echo 1.2.3; echo careful >&2", output: "text" });
  const pkg = job({ run: ["echo", '{"name":"web","size":3}'], output: v.object({ name: v.string(), size: v.number() }) });
  const wrong = job({ run: ["echo", '{"name":4}'], output: v.object({ name: v.string() }), allowFailure: true });
  const cells = matrix({ n: [1, 2] }, ({ n }) => job({ run: () => n * 10 }));
  const never = job({ needs: [version], if: ({ needs: [one] }) => one.output === "2", run: "true" });
  const work = job({ needs: [version, pkg, cells], also: { other: {} }, async run({ $, also: { other }, log, ask, needs: [a, b, c], workspace, params }) {
    await $\`echo shown; echo aside >&2; echo \${"it's $HOME"} > file\`;
    const text = await $\`cat file; pwd; echo "$A$B"\`.env({ B: "2" }).text();
    log(a.output, b.output, c["n=1"].output, text.split("\\n")[0], workspace === text.split("\\n")[1], params);
    const { code } = await $\`exit 3\`.nothrow();
    const lines = [];
    for await (const line of $\`seq 100000\`.lines()) if (lines.push(line) === 3) break;
    const piped = await other\`seq 1 200000; echo end >&2\`.pipe($\`cat > got; wc -l < got\`);
    const back = await $\`cat\`.stdin("x".repeat(3_000_000)).bytes();
    const timed = await $\`sleep 31.7\`.timeout("40ms").nothrow();
    const answer = await ask("Which?", { schema: v.pipe(v.string(), v.transform(Number), v.integer()) });
    return { code, lines, piped: piped.piped[0].stderr, bytes: back.length, timed: timed.exit.reason, answer };
  } });
  const gives = job({ run: () => ({ p: job({ run: sh\`echo \${"p q"}\`, output: "text" }), q: matrix({ n: [1] }, ({ n }) => job({ run: () => n })) }) });
  const after = job({ needs: [gives], run: ({ needs: [all] }) => [all.output.p.output, all.output.q["n=1"].output] });
  export default recipe({ params: v.object({ word: v.optional(v.string(), "none") }), env: { word: "SANDBOX_WORD" },
    jobs: () => ({ version, pkg, wrong, cells, never, work, gives, after }) });`;

describe("a recipe in a sandbox", () => {
  it("does what it does without one", async () => {
    await using rig = new Rig();
    const path = recipeIn(rig, ENDS);
    const args = ["run", path, "--format", "json", "--answer", "work=7", "--set", "word=given"];
    const cameOut = ({ text }: Ended) => {
      const all = [...endsIn(text)].map(([name, { outcome, output, message }]) => ({ name, outcome, output, message }));
      return all.sort((one, other) => (one.name < other.name ? -1 : 1));
    };
    const open = await rig.coordinator(args);
    await rig.pairedRunner("w1");
    const there = await rig.coordinator([...args, ...SANDBOX]);
    expect(endsIn(open.text).get("work")?.output).toEqual({
      code: 3,
      lines: ["1", "2", "3"],
      piped: "end\n",
      bytes: 3_000_000,
      timed: "timeout",
      answer: 7,
    });
    expect(there.stderr).toBe("");
    expect(cameOut(there)).toEqual(cameOut(open));
    expect(there.code).toBe(open.code);
  });

  it("fails a job at the line where its function threw, and where its own process ends; other jobs go on", async () => {
    await using rig = new Rig();
    const path = recipeIn(
      rig,
      `const slow = job({ run: ["sleep", "0.0171"] });
      const denied = job({ async run() { const { readFileSync } = await import("node:fs"); readFileSync("/etc/passwd"); } });
      const failed = job({ run: ({ $ }) => $(["false"]) });
      const floating = job({ async run({ $ }) { void (async () => { await $(["sleep", "0.0173"]); throw new TypeError("not so"); })(); await $(["sleep", "31.3"]); } });
      const told = job({ run() { setTimeout(() => Promise.reject(new Error("too late")), 100); } });
      const threw = job({ needs: [slow], run() { console.log("\\u001b[2Jprinted"); throw new RangeError("too far"); } });
      const ends = job({ needs: [denied, failed, threw, floating, told], always: true, async run({ $ }) { $(["sleep", "31.9"]); setTimeout(() => process.exit(0), 500); await new Promise(() => {}); } });
      const late = job({ needs: [ends], always: true, run: ["echo", "late"] });
      export default recipe({ slow, denied, failed, floating, told, threw, ends, late });`,
    );
    const run = await rig.coordinator(["run", path, "--sandbox", "--allow-run=sleep,false,echo", "--format", "json"]);
    const ends = endsIn(run.text);
    expect(ends.get("slow")?.outcome).toBe("passed");
    expect(ends.get("denied")?.message).toBe(
      "The recipe is in a sandbox, and may not read /etc/passwd. --allow-read=/etc/passwd would allow it.",
    );
    expect(ends.get("failed")?.message).toMatch(/^false: exit 1 \(\/.*recipe\.ts:5:\d+\)$/);
    expect(ends.get("threw")?.message).toMatch(/^RangeError: too far \(\/.*recipe\.ts:8:\d+\)$/);
    expect(ends.get("floating")?.message).toMatch(/^TypeError: not so \(\/.*recipe\.ts:6:\d+\)$/);
    expect(ends.get("told")?.outcome).toBe("passed");
    expect(run.text).toMatch(
      /"from":"\$","text":"a promise that its function did not await failed after it: Error: too late/,
    );
    expect(ends.get("ends")).toMatchObject({ outcome: "failed", message: expect.stringContaining("ended by itself") });
    expect(ends.get("late")?.outcome).toBe("passed");
    expect(run.code).toBe(1);
    expect(run.stderr).toContain("recipe: printed\n");
  });

  it("is told that its job was cancelled, and goes on for those that run always", async () => {
    await using rig = new Rig();
    const path = recipeIn(
      rig,
      `const works = job({ async run({ $, log, signal }) { await log("works"); await $(["sleep", "31.1"]).nothrow(); console.log("told", signal.aborted); } });
      export default recipe({ works, cleans: job({ needs: [works], always: true, run: ({ log }) => log("cleaned") }) });`,
    );
    const live = rig.spawnCoordinator(["run", path, "--sandbox", "--allow-run=sleep"]);
    // It is shown before it is started, and what was cancelled before that is no end of a command.
    const sleeping = await until(
      () => processesOf("sleep\x0031.1"),
      (pids) => pids.length > 0,
    );
    expect(sleeping).not.toEqual([]);
    live.child.kill("SIGINT");
    const ended = await live.ended;
    expect(ended.text).toContain("cleaned");
    expect(ended.stderr).toContain("recipe: told true\n");
    expect(ended.code).toBe(130);
  });

  async function looping(rig: Rig) {
    const path = recipeIn(
      rig,
      `export default recipe({ loops: job({ async run({ log }) { await log("pid", process.pid); for (;;); } }) });`,
    );
    const live = rig.spawnCoordinator(["run", path, "--sandbox", "--allow-run=true"]);
    const [, pid] = await live.waitFor(/pid (\d+)/);
    return { live, pid: Number(pid) };
  }

  it("is ended with its run: one that loops too, once Ctrl-C has cancelled its job", async () => {
    await using rig = new Rig();
    const { live, pid } = await looping(rig);
    live.child.kill("SIGINT");
    const ended = await live.ended;
    expect(ended.code).toBe(130);
    expect(processStat(pid)).toBeUndefined();
  });

  it("is ended with its coordinator, also one that loops while that is killed", async () => {
    await using rig = new Rig();
    const { live, pid } = await looping(rig);
    live.child.kill("SIGKILL");
    await live.ended;
    const isOver = await until(() => hasEnded(processStat(pid) ?? { state: "X" }), Boolean);
    expect(isOver).toBe(true);
  });

  it("is planned, checked, described and watched in it", async () => {
    await using rig = new Rig();
    const path = recipeIn(
      rig,
      `console.log("loaded by", process.permission ? "a sandbox" : "nobody");
      export default recipe({ params: v.object({ word: v.optional(v.pipe(v.string(), v.description("to say")), "none") }), jobs: ({ word }) => ({ a: job({ run: ["echo", word] }) }) });`,
    );
    const inIt = { stderr: "recipe: loaded by a sandbox\n", code: 0 };
    expect(await rig.coordinator(["run", path, ...SANDBOX, "--dry-run"])).toMatchObject(inIt);
    expect(await rig.coordinator(["run", path, ...SANDBOX, "--graph", "mermaid"])).toMatchObject(inIt);
    const checked = await rig.coordinator(["check", path, ...SANDBOX]);
    expect(checked).toMatchObject({
      ...inIt,
      text: expect.stringContaining("1 job can be planned; types were not checked"),
    });
    const help = await rig.coordinator(["run", path, ...SANDBOX, "--help"]);
    expect(help.text).toMatch(/word +string +default: "none" +to say/);
    expect(help.stderr).toBe(inIt.stderr);
    const live = rig.spawnCoordinator(["run", path, ...SANDBOX, "--allow-run=echo", "--set", "word=first", "--watch"]);
    await live.waitFor(/first[\s\S]*waiting for changes/);
    writeFileSync(path, readFileSync(path, "utf8").replace("word] })", '"second"] })'));
    await live.waitFor(/second[\s\S]*waiting for changes/);
    live.child.kill("SIGINT");
    const { stderr } = await live.ended;
    expect(stderr.match(/loaded by a sandbox/g)?.length).toBe(2);
    expect(stderr).not.toContain("nobody");
  });
});

// What goes on when something between a job and its readers ends: the front, the keeper, the coordinator, the terminal.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { type Live, Rig, type RunnerProcess, until } from "../rig/rig.ts";

const COUNTING = "i=0; while [ $i -lt 40 ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.05; done; exit 5";
const lines = (word: string): string => Array.from({ length: 40 }, (_, index) => `${word} ${index}\n`).join("");

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;
const ALLOWED = ["-A", "--slots", "4"];

const keeperOf = (runner: RunnerProcess): number =>
  Number.parseInt(readFileSync(join(runner.home, "runner", "keeper", "lock"), "latin1"), 10);

/** The same runner again, under the same address, on the jobs that its keeper has. */
async function startAgain(rig: Rig, runner: RunnerProcess): Promise<RunnerProcess> {
  const listen = runner.address.replace(/\/p2p\/.*/, "");
  return rig.startRunner(runner.name, [...ALLOWED, "--listen", listen], runner.home);
}

/** Without what Sortie says itself. */
const own = (text: string): string => text.replace(/^sortie: .*\n/gm, "");

const runIdIn = async (live: Live): Promise<string> => (await live.waitFor(/run (\w{12})/))[1] as string;

describe("a front that is killed", () => {
  it("leaves its jobs running, and the next one serves them: one unbroken output, and the exit", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ALLOWED);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", COUNTING]);
    await live.waitFor(/out 5\n/);
    await runner.stop("SIGKILL");
    await live.waitFor(/the connection was lost/);
    await startAgain(rig, runner);
    const { code, text, stderr } = await live.ended;
    expect({ code, text, stderr: own(stderr) }).toEqual({ code: 5, text: lines("out"), stderr: lines("err") });
    expect(stderr).toContain("sortie: w1 is there again");
  });

  it("is followed by one that counts the jobs of the keeper among its slots", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; read line; echo $line"]);
    await live.waitFor(/up/);
    await runner.stop("SIGKILL");
    const listen = runner.address.replace(/\/p2p\/.*/, "");
    await rig.startRunner("w1", ["-A", "--slots", "1", "--listen", listen], runner.home);
    await live.waitFor(/is there again/);
    expect((await rig.coordinator(["exec", "w1", "--", "true"])).stderr).toContain("error[RUNNER_FULL]");
    live.child.stdin.end("hello\n");
    expect(await live.ended).toMatchObject({ code: 0, text: "up\nhello\n" });
  });
});

describe("a keeper that is killed", () => {
  it("leaves nothing running that cleared its environment", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ALLOWED);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; exec env -i sleep 4856"]);
    await live.waitFor(/up/);
    process.kill(keeperOf(runner), "SIGKILL");
    expect((await live.ended).code).toBe(125);
    expect(processesOf("sleep\x004856")).toEqual([]);
  });

  it("ends its jobs as lost, with every byte that was journaled, and leaves nothing running", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ALLOWED);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", `trap '' PIPE HUP; ${COUNTING}; sleep 4844`]);
    await live.waitFor(/out 5\n/);
    process.kill(keeperOf(runner), "SIGKILL");
    const { code, text, stderr } = await live.ended;
    expect(code).toBe(125);
    expect(stderr).toContain("sortie: lost: the process that kept it ended");
    expect(lines("out").startsWith(text)).toBe(true);
    expect(text).toContain("out 5\n");
    expect(processesOf("sleep\x004844")).toEqual([]);
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/exec +lost .*complete/);
    // The front has started another one, and goes on.
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "again"])).text).toBe("again\n");
  });
});

describe("a coordinator that is killed", () => {
  const graphOf = (script: string): string =>
    recipe(
      `const first = job({ run: sh\`echo first\` });
     const counting = job({ needs: [first], run: ${JSON.stringify(script)} });
     const last = job({ needs: [counting], run: sh\`echo last\` });
     export default recipe({ first, counting, last });`,
    );
  const graph = graphOf(COUNTING.replace("exit 5", "exit 0"));

  it("is followed by resume: what passed is kept, what runs is taken up without losing a byte, the rest goes on", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const path = rig.recipe(graph);
    const live = rig.spawnCoordinator(["run", path]);
    const run = await runIdIn(live);
    await live.waitFor(/out 5\n/);
    live.child.kill("SIGKILL");
    await live.ended;
    expect((await rig.coordinator(["runs"])).text).toContain("interrupted");
    const seen = await rig.coordinator(["attach", run]);
    expect([seen.code, seen.text]).toEqual([3, expect.stringContaining("counting │ out 5\n")]);
    const resumed = await rig.coordinator(["resume", run]);
    expect(resumed.code).toBe(0);
    expect(resumed.text).toContain(`run ${run} goes on: 3 jobs`);
    const logs = await rig.coordinator(["logs", `${run}/counting`]);
    expect(logs).toMatchObject({ code: 0, text: lines("out"), stderr: lines("err") });
    const shown = JSON.parse((await rig.coordinator(["show", run, "--json"])).text) as {
      state: string;
      jobs: { name: string; outcome: string; attempts: { log: string }[] }[];
    };
    expect(shown.state).toBe("passed");
    expect(shown.jobs.map(({ name, outcome, attempts }) => [name, outcome, attempts.map(({ log }) => log)])).toEqual([
      ["first", "passed", ["complete"]],
      ["counting", "passed", ["complete"]],
      ["last", "passed", ["complete"]],
    ]);
    expect((await rig.coordinator(["resume", run])).stderr).toContain("error[RUN_ENDED]");
  });

  it("is not followed where the recipe is another one now", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const endless = graphOf("echo up; sleep 5858");
    const path = rig.recipe(endless);
    const live = rig.spawnCoordinator(["run", path]);
    const run = await runIdIn(live);
    await live.waitFor(/up\n/);
    const second = await rig.coordinator(["resume", run]);
    expect([second.code, second.stderr]).toEqual([2, expect.stringContaining("error[RUN_LIVES]")]);
    live.child.kill("SIGKILL");
    await live.ended;
    rig.recipe(endless.replace("echo first", "echo other"));
    const refused = await rig.coordinator(["resume", run]);
    expect([refused.code, refused.stderr]).toEqual([2, expect.stringContaining("error[RECIPE_CHANGED]")]);
    const cancelled = await rig.coordinator(["cancel", run]);
    expect([cancelled.code, cancelled.text]).toEqual([0, `${run}: cancelled\n`]);
    expect((await rig.coordinator(["show", run])).text).toMatch(/counting +cancelled .*complete/);
  });

  it("takes its own jobs with it where it embeds the runner, and resume does them anew", async () => {
    await using rig = new Rig();
    const path = rig.recipe(graph);
    const live = rig.spawnCoordinator(["run", path, "--local"]);
    const run = await runIdIn(live);
    await live.waitFor(/out 5\n/);
    live.child.kill("SIGKILL");
    await live.ended;
    const resumed = await rig.coordinator(["resume", run]);
    expect([resumed.code, resumed.text]).toEqual([
      0,
      expect.stringContaining("counting │ started on local, attempt 2"),
    ]);
    expect((await rig.coordinator(["logs", `${run}/counting`])).text).toBe(lines("out"));
  });
});

describe("a run that nobody watches", () => {
  it("starts detached, is shown by attach from its beginning, and comes out the same", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const path = rig.recipe(recipe(`export default recipe({ count: job({ run: ${JSON.stringify(COUNTING)} }) });`));
    const detached = await rig.coordinator(["run", path, "--detach"]);
    expect([detached.code, detached.text]).toEqual([0, expect.stringMatching(/^\w{12}\n$/)]);
    const run = detached.text.trim();
    const attached = await rig.coordinator(["attach", run]);
    expect(attached.code).toBe(1);
    for (const word of ["out", "err"])
      expect(
        [...attached.text.matchAll(new RegExp(`^count │ ${word} (\\d+)$`, "gm"))].map(([, index]) => index),
      ).toEqual(Array.from({ length: 40 }, (_, index) => String(index)));
    expect(attached.text).toContain("failed: exit 5");
  });

  it("tells what is wrong with a recipe before it leaves", async () => {
    await using rig = new Rig();
    const path = rig.recipe(recipe("export default recipe({ a: job({ run: [] }) });"));
    const temporary = join(rig.folder, "temporary");
    mkdirSync(temporary);
    const { code, stderr, text } = await rig.coordinator(["run", path, "--detach"], { env: { TMPDIR: temporary } });
    expect([code, text, stderr]).toEqual([2, "", expect.stringContaining("error[RECIPE_INVALID]")]);
    // tsx keeps a folder of its own there.
    expect(readdirSync(temporary).filter((name) => name.startsWith("sortie-"))).toEqual([]);
  });

  it("is cancelled from another terminal, as a whole or one job of it", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const path = rig.recipe(
      recipe(
        `const a = job({ run: "sleep 5852" }), b = job({ run: "sleep 5853" });
         export default recipe({ a, b, c: job({ needs: [a], run: "true" }) });`,
      ),
    );
    const run = (await rig.coordinator(["run", path, "--detach"])).text.trim();
    const started = (): boolean => ["5852", "5853"].every((seconds) => processesOf(`sleep\0${seconds}`).length > 0);
    expect(await until(started, Boolean)).toBe(true);
    const one = await rig.coordinator(["cancel", `${run}/a`]);
    expect([one.code, one.text]).toEqual([0, `${run}/a: cancelled\n`]);
    expect(processesOf("sleep\x005852")).toEqual([]);
    expect(processesOf("sleep\x005853").length).toBeGreaterThan(0);
    expect((await rig.coordinator(["cancel", run])).text).toBe(`${run}: cancelled\n`);
    expect(processesOf("sleep\x005853")).toEqual([]);
    expect((await rig.coordinator(["cancel", run])).stderr).toContain("error[RUN_ENDED]");
  });
});

describe("a lease", () => {
  it("ends a job whose coordinator stays away, and its journal stays readable", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", [...ALLOWED, "--lease", "1s"]);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; sleep 5854"]);
    await live.waitFor(/up/);
    live.child.kill("SIGKILL");
    await live.ended;
    const ended = await until(
      () => processesOf("sleep\x005854"),
      (pids) => pids.length === 0,
    );
    expect(ended).toEqual([]);
    // Its exit is written once it is gone.
    const logs = await rig.coordinator(["logs", "-f", "--from", "w1", "exec"]);
    expect([logs.code, logs.text, logs.stderr]).toEqual([0, "up\n", expect.stringContaining("stayed away too long")]);
  });

  it("can be for ever: the job goes on and is found again", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", [...ALLOWED, "--lease", "1s"]);
    const go = join(rig.folder, "go");
    const script = `echo up; until [ -e ${go} ]; do sleep 0.05; done; ${COUNTING}`;
    const live = rig.spawnCoordinator(["exec", "w1", "--lease", "none", "--", "sh", "-c", script]);
    await live.waitFor(/up\n/);
    live.child.kill("SIGKILL");
    await live.ended;
    const isAway = /exec .* running, its coordinator is away/;
    // Its runner notices that within a moment.
    const listed = await until(
      async () => (await rig.coordinator(["logs", "--from", "w1"])).text,
      (text) => isAway.test(text),
    );
    expect(listed).toMatch(isAway);
    const following = rig.spawnCoordinator(["logs", "-f", "--from", "w1", "exec"]);
    await following.waitFor(/up\n/);
    writeFileSync(go, "");
    const logs = await following.ended;
    expect([logs.text, own(logs.stderr)]).toEqual([`up\n${lines("out")}`, lines("err")]);
    expect(logs.stderr).toContain("ended with exit 5");
  });
});

describe("logs straight from a runner", () => {
  it("show last lines, one output, and what stands behind an offset or was written since", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ALLOWED);
    const script = "seq 5; read line; sleep 0.2; seq 6 9; echo no >&2";
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", script]);
    // They were read, at their time, before the others are written.
    await live.waitFor(/5\n/);
    live.child.stdin.end("go\n");
    await live.ended;
    const logs = async (...args: string[]): Promise<string> =>
      (await rig.coordinator(["logs", "--stdout", ...args, "exec"])).text;
    for (const from of [[], ["--from", "w1"]]) {
      expect(await logs(...from, "-n", "2")).toBe("8\n9\n");
      expect(await logs(...from, "-n", "2", "-f")).toBe("8\n9\n");
      expect(await logs(...from)).toBe("1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    }
    const file = await rig.coordinator(["logs", "--timestamps", "--stdout", "exec"]);
    const sixth = /^(\S+) 6$/m.exec(file.text)?.[1] as string;
    expect(await logs("--from", "w1", "--since", sixth)).toBe("6\n7\n8\n9\n");
    expect(await logs("--since", "1h")).toBe("1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    const whole = (await rig.coordinator(["logs", "--from", "w1"])).text;
    expect(await logs("--from", "w1", "--offset", /(\d+)\n?$/.exec(whole.trim())?.[1] as string)).toBe("");
    expect((await rig.coordinator(["logs", "--from", "w1", "nothing"])).stderr).toContain("error[NOT_FOUND]");
  });
});

describe("a runner that is to leave", () => {
  it("finishes what runs, takes nothing new, and leaves at drain", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ALLOWED);
    const live = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; read line; echo $line"]);
    await live.waitFor(/up/);
    expect((await rig.runner(["drain", "--wait=false"], runner.home)).text).toBe("w1 is draining\n");
    await runner.waitFor(/draining: no new jobs; 1 runs still/);
    expect((await rig.coordinator(["exec", "w1", "--", "true"])).stderr).toContain("error[RUNNER_DRAINING]");
    const draining = rig.spawnRunner(["drain"], runner.home);
    await draining.waitFor(/is draining/);
    live.child.stdin.end("bye\n");
    expect(await live.ended).toMatchObject({ code: 0, text: "up\nbye\n" });
    expect((await runner.ended).code).toBe(0);
    expect((await draining.ended).text).toBe("w1 is draining\nw1 has left\n");
    expect((await rig.runner(["drain"], runner.home)).stderr).toContain("error[NOT_FOUND]");
  });

  it("takes one job with --once", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ["-A", "--once"]);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "one"])).text).toBe("one\n");
    expect((await runner.ended).code).toBe(0);
  });
});

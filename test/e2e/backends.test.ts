// Jobs in containers and over ssh through the whole of Sortie: recipes, runners, and what is killed in between.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { IMAGE, testEngine } from "../rig/engine.ts";
import { processesOf } from "../rig/processes.ts";
import { type Live, Rig, type RunnerProcess, secondPress, until } from "../rig/rig.ts";
import { type Sshd, startSshd, whyNoSshd } from "../rig/sshd.ts";

const JOBS = 20;
const engine = await testEngine("docker");
const why = "missing" in engine ? engine.missing : whyNoSshd();
const host = "host" in engine ? engine.host : "";
const keeperOf = (runner: RunnerProcess): number =>
  Number.parseInt(readFileSync(join(runner.home, "runner", "keeper", "lock"), "latin1"), 10);

/** Containers of jobs whose name begins so. */
function containersOf(job: string): string[] {
  const format = '{{.Label "sortie.job"}}';
  const listed = execFileSync("docker", ["-H", host, "ps", "-a", "--format", format], { encoding: "utf8" });
  return listed.split("\n").filter((name) => name.startsWith(job));
}

const COUNTING = "i=0; while [ $i -lt 30 ]; do echo out $i; echo err $i >&2; i=$((i+1)); sleep 0.1; done";
const lines = (word: string): string => Array.from({ length: 30 }, (_, index) => `${word} ${index}\n`).join("");

/** Without what Sortie says itself. */
const own = (text: string): string => text.replace(/^sortie: .*\n/gm, "");

const many = (name: string, place: string, script = COUNTING): string => `
  import { job, recipe } from "sortie";
  const place = ${place};
  export default recipe(Object.fromEntries(Array.from({ length: ${JOBS} }, (_, index) =>
    [\`${name}\${index}\`, job({ ...place, run: ${JSON.stringify(script)} + \`; exit \${index}\` })])));`;

/** Each of them has written: the last to be started may be the first that does. */
async function allAtWork(live: Live, name: string): Promise<void> {
  for (let index = 0; index < JOBS; index++) await live.waitFor(new RegExp(`${name}${index} +│ out 3\n`));
}

interface Shown {
  readonly jobs: {
    name: string;
    outcome: string;
    attempts: { log: string; exit?: { reason: string; code: number } }[];
  }[];
}

describe.skipIf(why !== undefined)(`jobs of every backend${why === undefined ? "" : ` (${why})`}`, () => {
  let sshd: Sshd;
  const environment = async (): Promise<Record<string, string>> => {
    sshd ??= await startSshd();
    return { DOCKER_HOST: host, SORTIE_SSH_CONFIG: sshd.config };
  };
  afterAll(() => sshd?.[Symbol.asyncDispose]());

  const runnerIn = async (rig: Rig): Promise<RunnerProcess> => {
    const env = await environment();
    const runner = await rig.startRunner("w1", ["-A", "--slots", String(JOBS)], undefined, { env });
    expect((await rig.coordinator(["add", runner.invite])).code).toBe(0);
    return runner;
  };
  const startAgain = async (rig: Rig, runner: RunnerProcess): Promise<RunnerProcess> => {
    const listen = runner.address.replace(/\/p2p\/.*/, "");
    const env = await environment();
    return rig.startRunner(runner.name, ["-A", "--slots", String(JOBS)], runner.home, { listen, env });
  };
  const shown = async (rig: Rig): Promise<Shown> =>
    JSON.parse((await rig.coordinator(["show", "last", "--json"])).text) as Shown;

  /** One that has to leave before a busy engine answered leaves them to the next. */
  const leftByNext = async (rig: Rig, job: string): Promise<readonly string[]> => {
    const env = await environment();
    const path = rig.recipe(
      'import { job, recipe } from "sortie"; export default recipe({ next: job({ run: "true" }) });',
      "next.ts",
    );
    return until(
      async () => {
        expect((await rig.coordinator(["run", path], { env })).code).toBe(0);
        return containersOf(job);
      },
      (list) => list.length === 0,
    );
  };

  it("moves a job between the three by one line, also on the runner inside the coordinator", async () => {
    await using rig = new Rig();
    const env = await environment();
    const path = rig.recipe(`
      import { job, recipe, sh } from "sortie";
      const work = { env: { WORD: "it's" }, run: [sh\`echo "$WORD" > file\`, sh\`cat file; pwd | wc -l; echo err >&2; exit 3\`] };
      const here = job({ ...work });
      const inside = job({ ...work, container: "${IMAGE}" });
      const there = job({ ...work, ssh: "target" });
      export default recipe({ here, inside, there });`);
    const local = await rig.coordinator(["run", path], { env });
    expect(local.code).toBe(1);
    await runnerIn(rig);
    const remote = await rig.coordinator(["run", path], { env });
    expect(remote.code).toBe(1);
    for (const job of ["here", "inside", "there"]) {
      const { code, text, stderr } = await rig.coordinator(["logs", `last/${job}`]);
      expect({ job, code, text, stderr: own(stderr) }).toEqual({ job, code: 0, text: "it's\n1\n", stderr: "err\n" });
    }
    expect((await shown(rig)).jobs.map(({ attempts }) => attempts[0]?.exit)).toMatchObject([
      { reason: "exited", code: 3 },
      { reason: "exited", code: 3 },
      { reason: "exited", code: 3 },
    ]);
  });

  it("runs a single command in an image, and on a host", async () => {
    await using rig = new Rig();
    await runnerIn(rig);
    const inside = await rig.coordinator(["exec", "w1", "--image", IMAGE, "--", "sh", "-c", "cat; exit 5"], {
      input: "in\n",
    });
    expect(inside).toMatchObject({ code: 5, text: "in\n" });
    const there = await rig.coordinator(["exec", "w1", "--ssh", "target", "--", "sh", "-c", "cat; exit 6"], {
      input: "in\n",
    });
    expect(there).toMatchObject({ code: 6, text: "in\n" });
    const missing = await rig.coordinator([
      "exec",
      "w1",
      "--image",
      "sortie-no-such-image",
      "--pull",
      "never",
      "--",
      "true",
    ]);
    expect(missing.code).toBe(125);
    expect(missing.stderr).toContain("sortie-no-such-image");
    const unknown = await rig.coordinator(["exec", "w1", "--ssh", "no-such-host.invalid", "--", "true"]);
    expect(unknown.code).toBe(125);
    expect(unknown.stderr).toContain("no-such-host.invalid");
  });

  for (const [name, place] of [
    ["container", `{ container: "${IMAGE}" }`],
    ["ssh", '{ ssh: "target" }'],
  ] as const) {
    const left = () => (name === "container" ? containersOf(name) : processesOf(`SORTIE_JOB=${name}`).map(String));

    it(`${name}: a front that is killed costs none of ${JOBS} jobs a byte or its exit`, {
      timeout: 120_000,
    }, async () => {
      await using rig = new Rig();
      const runner = await runnerIn(rig);
      const live = rig.spawnCoordinator(["run", rig.recipe(many(name, place))]);
      await allAtWork(live, name);
      await runner.stop("SIGKILL");
      await startAgain(rig, runner);
      expect((await live.ended).code).toBe(1);
      for (const [index, { outcome, attempts }] of (await shown(rig)).jobs.entries())
        expect({ outcome, attempts }).toMatchObject({
          outcome: index === 0 ? "passed" : "failed",
          attempts: [{ log: "complete", exit: { reason: "exited", code: index } }],
        });
      for (let index = 0; index < JOBS; index++) {
        const { text, stderr } = await rig.coordinator(["logs", `last/${name}${index}`]);
        expect({ text, stderr: own(stderr) }).toEqual({ text: lines("out"), stderr: lines("err") });
      }
      expect(await until(left, (list) => list.length === 0)).toEqual([]);
    });

    it(`${name}: a keeper that is killed leaves ${JOBS} jobs lost, and nothing running`, {
      timeout: 120_000,
    }, async () => {
      await using rig = new Rig();
      const runner = await runnerIn(rig);
      const live = rig.spawnCoordinator(["run", rig.recipe(many(name, place, "echo out 3; sleep 4962"))]);
      await allAtWork(live, name);
      expect(left().length).toBeGreaterThanOrEqual(JOBS);
      process.kill(keeperOf(runner), "SIGKILL");
      const first = await until(
        async () => (await shown(rig)).jobs.map(({ attempts }) => attempts[0]?.exit),
        (exits) => exits.every((exit) => exit !== undefined),
      );
      expect(first).toMatchObject(Array.from({ length: JOBS }, () => ({ reason: "lost", code: null })));
      // A lost job is tried again: that ends here.
      live.child.kill("SIGINT");
      expect((await live.ended).code).toBe(130);
      expect(await until(left, (list) => list.length === 0)).toEqual([]);
    });
  }

  it("ends what a coordinator that was killed left in containers, when the next one runs something", async () => {
    await using rig = new Rig();
    const env = await environment();
    const path = rig.recipe(`
      import { job, recipe } from "sortie";
      export default recipe({ orphan: job({ container: "${IMAGE}", run: "echo up; sleep 4961" }) });`);
    const live = rig.spawnCoordinator(["run", path], { env });
    await live.waitFor(/up\n/);
    live.child.kill("SIGKILL");
    await live.ended;
    expect(containersOf("orphan")).toEqual(["orphan"]);
    expect(await leftByNext(rig, "orphan")).toEqual([]);
  });

  it("leaves containers to the next coordinator where the second Ctrl-C ends this one at once", async () => {
    await using rig = new Rig();
    const env = await environment();
    const path = rig.recipe(`
      import { job, recipe } from "sortie";
      export default recipe({ stubborn: job({ container: "${IMAGE}", grace: "1m", run: "trap '' TERM INT; echo up; while :; do sleep 0.1; done" }) });`);
    const live = rig.spawnCoordinator(["run", path], { env });
    await live.waitFor(/up\n/);
    live.child.kill("SIGINT");
    await live.waitFor(/cancelling/);
    await secondPress();
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    expect(await leftByNext(rig, "stubborn")).toEqual([]);
  });
});

// Groups of jobs, among runs in processes of their own; and how long a job may wait.
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Live, Rig } from "../rig/rig.ts";

/** A recipe whose one job is in the group, and runs until the file is there. */
const held = (rig: Rig, name: string, concurrency: string, more = ""): { path: string; go: () => void } => {
  const file = join(rig.folder, `${name}.go`);
  const path = rig.recipe(
    `import { job, recipe, sh } from "sortie";
     export default recipe({ ${name}: job({ concurrency: ${concurrency}, ${more}
       run: sh\`echo ${name} runs; until [ -e \${${JSON.stringify(file)}} ]; do sleep 0.05; done; echo ${name} ends\` }) });`,
    `${name}.ts`,
  );
  return { path, go: () => writeFileSync(file, "") };
};

const runOf = (live: Live): string => /run (\w+)/.exec(live.stdout())?.[1] ?? "no run";

describe("a group of jobs", () => {
  it("has one at a time, also of runs in other processes, first come first served", async () => {
    await using rig = new Rig();
    const [one, two, three] = ["one", "two", "three"].map((name) => held(rig, name, '"deploy"'));
    const first = rig.spawnCoordinator(["run", one?.path ?? ""]);
    await first.waitFor(/one runs/);
    const second = rig.spawnCoordinator(["run", two?.path ?? ""]);
    await second.waitFor(/waiting: its group deploy is full/);
    expect(second.stdout()).toContain(`: ${runOf(first)}/one is before it`);
    const third = rig.spawnCoordinator(["run", three?.path ?? "", "--format", "json"]);
    await third.waitFor(/"job-waiting"/);
    one?.go();
    await second.waitFor(/two runs/);
    expect(third.stdout()).not.toContain("job-started");
    two?.go();
    await third.waitFor(/job-started/);
    three?.go();
    for (const live of [first, second, third]) expect((await live.ended).code).toBe(0);
  });

  it("has as many as its limit, and jobs outside of it are not held up", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "8"]);
    const log = join(rig.folder, "log");
    const path = rig.recipe(`import { job, matrix, recipe } from "sortie";
      const limited = matrix({ n: ["1", "2", "3", "4", "5", "6"] }, ({ n }) => job({
        concurrency: { group: "db", limit: 2 },
        env: { LOG: ${JSON.stringify(log)} },
        // The first two meet; a third would not be kept waiting by them.
        run: 'echo + >> $LOG; until [ $(grep -c + $LOG) -ge 2 ]; do sleep 0.05; done; sleep 0.3; echo - >> $LOG' }));
      export default recipe({ limited, free: job({ run: "echo free" }) });`);
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code, text).toBe(0);
    let now = 0;
    let most = 0;
    for (const line of readFileSync(log, "utf8").trim().split("\n")) {
      now += line === "+" ? 1 : -1;
      most = Math.max(most, now);
    }
    expect([now, most]).toEqual([0, 2]);
    expect(text).toMatch(/waiting: its group db is full/);
    expect(text).not.toMatch(/free +│ waiting/);
  });

  it("is given up by a process that was killed", async () => {
    await using rig = new Rig();
    const [one, two] = ["one", "two"].map((name) => held(rig, name, '"deploy"'));
    const first = rig.spawnCoordinator(["run", one?.path ?? ""]);
    await first.waitFor(/one runs/);
    const second = rig.spawnCoordinator(["run", two?.path ?? ""]);
    await second.waitFor(/waiting: its group/);
    first.child.kill("SIGKILL");
    await second.waitFor(/two runs/);
    two?.go();
    one?.go();
    expect((await second.ended).code).toBe(0);
  });

  it("is taken again by a run that is resumed, for the job that went on meanwhile", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "4"]);
    const [one, two] = ["one", "two"].map((name) => held(rig, name, '"deploy"'));
    const first = rig.spawnCoordinator(["run", one?.path ?? ""]);
    await first.waitFor(/one runs/);
    first.child.kill("SIGKILL");
    await first.ended;
    const resumed = rig.spawnCoordinator(["resume", runOf(first)]);
    await resumed.waitFor(/one │ started/);
    const second = rig.spawnCoordinator(["run", two?.path ?? ""]);
    await second.waitFor(/waiting: its group deploy is full: \w+\/one is before it/);
    one?.go();
    expect((await resumed.ended).code).toBe(0);
    await second.waitFor(/two runs/);
    two?.go();
    expect((await second.ended).code).toBe(0);
  });

  it("has a newer run's job cancel what is older, running and waiting, and not what is of the same run", async () => {
    await using rig = new Rig();
    const newest = '{ group: "preview", when: "cancel-older" }';
    const [one, two, three] = ["one", "two", "three"].map((name) => held(rig, name, newest));
    const first = rig.spawnCoordinator(["run", one?.path ?? ""]);
    await first.waitFor(/one runs/);
    const second = rig.spawnCoordinator(["run", two?.path ?? ""]);
    const ended = await first.ended;
    expect(ended.code).toBe(130);
    expect(ended.text).toMatch(/\[preview\] cancelled: \w+\/two of the same group came after it/);
    await second.waitFor(/two runs/);
    const third = rig.spawnCoordinator(["run", three?.path ?? ""]);
    expect((await second.ended).code).toBe(130);
    await third.waitFor(/three runs/);
    three?.go();
    expect((await third.ended).code).toBe(0);

    const same = rig.recipe(
      `import { job, recipe } from "sortie";
       const one = () => job({ concurrency: ${newest}, run: "echo ran" });
       export default recipe({ a: one(), b: one(), c: one() });`,
      "same.ts",
    );
    const together = await rig.coordinator(["run", same]);
    expect([together.code, together.text.match(/ran$/gm)?.length]).toEqual([0, 3]);
  });

  it("is left by a job that waits when it is cancelled", async () => {
    await using rig = new Rig();
    const [one, two, three] = ["one", "two", "three"].map((name) => held(rig, name, '"deploy"'));
    const first = rig.spawnCoordinator(["run", one?.path ?? ""]);
    await first.waitFor(/one runs/);
    const second = rig.spawnCoordinator(["run", two?.path ?? ""]);
    await second.waitFor(/waiting: its group/);
    second.child.kill("SIGINT");
    expect((await second.ended).code).toBe(130);
    const third = rig.spawnCoordinator(["run", three?.path ?? ""]);
    await third.waitFor(/waiting: its group/);
    one?.go();
    await third.waitFor(/three runs/);
    three?.go();
    expect((await third.ended).code).toBe(0);
    expect(existsSync(join(rig.folder, "two.go"))).toBe(false);
  });
});

describe("the time that a job may wait", () => {
  it("ends it as lost where no runner has a place, or its group has none; what runs is not ended by it", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const busy = held(rig, "busy", '"deploy"', 'timeout: { queue: "10s" },');
    const first = rig.spawnCoordinator(["run", busy.path]);
    await first.waitFor(/busy runs/);
    const late = held(rig, "late", '"other"', 'timeout: { queue: "500ms" },');
    const noRunner = await rig.coordinator(["run", late.path]);
    expect(noRunner.code).toBe(3);
    expect(noRunner.text).toMatch(
      /No runner had a place for it within 0\.5 s, its queue timeout\. `coordinator runners` shows/,
    );
    const behind = held(rig, "behind", '"deploy"', 'timeout: { queue: "500ms" },');
    const noGroup = await rig.coordinator(["run", behind.path]);
    expect(noGroup.code).toBe(3);
    expect(noGroup.text).toMatch(/There was no place in its group deploy within 0\.5 s/);
    busy.go();
    expect((await first.ended).code).toBe(0);
    // Nothing of the two is left in the group.
    expect((await rig.coordinator(["run", busy.path])).code).toBe(0);
  });

  it("is one of three limits: a step's ends the job and says which step", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, recipe, sh } from "sortie";
      export default recipe({ slow: job({
        timeout: { job: "1m", step: "3s", queue: "1m" }, grace: "1s",
        run: [...Array.from({ length: 9 }, () => sh\`sleep 0.35\`), sh\`sleep 30\`] }) });`);
    const { code, text } = await rig.coordinator(["run", path]);
    expect([code, text]).toEqual([1, expect.stringMatching(/timeout|timed out/)]);
    expect(text).toContain("step 10 of 10");
    const dry = await rig.coordinator(["run", path, "--dry-run", "--format", "json"]);
    expect(JSON.parse(dry.text).jobs[0]).toMatchObject({
      timeoutMs: 60_000,
      queueMs: 60_000,
      steps: Array.from({ length: 10 }, () => ({ timeoutMs: 3_000 })),
    });
  });
});

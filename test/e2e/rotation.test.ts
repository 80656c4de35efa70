import { cpSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { portOf } from "../rig/proxy.ts";
import { LOOPBACK, Rig, until } from "../rig/rig.ts";

/** Counts to twenty, ten a second; the last one once the file is there. */
const counting = (file: string): string[] => {
  const count = `until [ $i -lt 20 ] || [ -e ${file} ]; do sleep 0.05; done; echo line $i; sleep 0.1`;
  return ["sh", "-c", `i=0; while [ $i -lt 20 ]; do i=$((i+1)); ${count}; done`];
};
const lines = Array.from({ length: 20 }, (_, at) => `line ${at + 1}\n`).join("");

describe("a new key", () => {
  it("of a coordinator: its runners are told, a job that runs loses no byte, and the old key is worth nothing", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    const before = (await rig.coordinator(["id"])).text.trim();
    const stolen = join(rig.folder, "stolen");
    cpSync(rig.home, stolen, { recursive: true });
    const enough = join(rig.folder, "enough");
    const live = rig.spawnCoordinator(["exec", "w1", "--", ...counting(enough)]);
    await live.waitFor(/line 3\n/);

    const rotated = JSON.parse((await rig.coordinator(["id", "--rotate", "--json"])).text);
    expect(rotated).toEqual({ peer: expect.stringMatching(/^12D3Koo/), told: ["w1"], waiting: [] });
    const pins = JSON.parse((await rig.runner(["trust", "list", "--json"], runner.home)).text);
    expect(pins).toMatchObject([{ peer: rotated.peer, formerly: [before] }]);
    const old = await rig.coordinator(["exec", "w1", "--", "true"], { env: { SORTIE_HOME: stolen } });
    expect([old.code, old.stderr]).toEqual([125, expect.stringContaining("error[UNTRUSTED]")]);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "new"])).text).toBe("new\n");
    writeFileSync(enough, "");
    const { code, text } = await live.ended;
    expect([code, text]).toEqual([0, lines]);
    const audit = (await rig.runner(["audit", "--json"], runner.home)).text;
    expect(audit).toMatch(new RegExp(`"key-changed","peer":"${rotated.peer}","name":"[^"]+","before":"${before}"`));
    // Its jobs are its own still, and end with its trust.
    const last = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; sleep 5603"]);
    await last.waitFor(/up/);
    await rig.runner(["trust", "revoke", rotated.peer], runner.home);
    const left = await until(
      () => processesOf("sleep\x005603"),
      (pids) => pids.length === 0,
    );
    expect(left).toEqual([]);
    last.child.kill("SIGKILL");
  });

  it("of a coordinator that listens: not while it does, and its runners find it afterwards", async () => {
    await using rig = new Rig();
    const args = ["-A", "--require-signature"];
    const runner = await rig.joinedRunner("w1", { invite: LOOPBACK, args });
    const listening = rig.spawnCoordinator(["listen"]);
    await listening.waitFor(/listening: /);
    const refused = await rig.coordinator(["id", "--rotate"]);
    expect([refused.code, refused.stderr]).toEqual([
      3,
      expect.stringContaining("STATE_LOCKED]: This coordinator list"),
    ]);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "old"])).text).toBe("old\n");
    listening.child.kill("SIGINT");
    await listening.ended;
    expect((await rig.coordinator(["id", "--rotate"])).code).toBe(0);
    expect(await rig.coordinator(["exec", "w1", "--", "echo", "new"])).toMatchObject({ text: "new\n", stderr: "" });
    // Its command line names the coordinator by the key that it had.
    await runner.stop();
    const again = rig.spawnRunner(["start", "--name", "w1", ...args, "--join", runner.invite], runner.home);
    await again.waitFor(/dials \S+ \(/);
    await again.waitFor(/was joined before/);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "again"])).text).toBe("again\n");
    again.child.kill("SIGTERM");
    await again.ended;
  });

  it("of a runner: its coordinators find it by themselves, and a job that runs loses no byte", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    const enough = join(rig.folder, "enough");
    const live = rig.spawnCoordinator(["exec", "w1", "--", ...counting(enough)]);
    await live.waitFor(/line 3\n/);
    const running = await rig.runner(["id", "--rotate"], runner.home);
    expect([running.code, running.stderr]).toEqual([
      3,
      expect.stringContaining("error[STATE_LOCKED]: The runner runs"),
    ]);
    await runner.stop("SIGKILL");
    const [peer = ""] = (await rig.runner(["id", "--rotate"], runner.home)).text.split("\n");
    const listen = `/ip4/127.0.0.1/tcp/${portOf(runner.address)}`;
    const again = await rig.startRunner("w1", undefined, runner.home, { listen });
    expect(again.peer).toBe(peer);
    expect(peer).not.toBe(runner.peer);
    writeFileSync(enough, "");
    const { code, text } = await live.ended;
    expect([code, text]).toEqual([0, lines]);
    expect(JSON.parse((await rig.coordinator(["trust", "list", "--json"])).text)).toMatchObject([
      { peer, name: "w1", formerly: [runner.peer] },
    ]);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "new"])).text).toBe("new\n");
  });

  it("of a runner that joined: a command that waits for it while it says so has its job done, signed for the new key", async () => {
    await using rig = new Rig();
    const args = ["-A", "--require-signature"];
    const runner = await rig.joinedRunner("w1", { invite: LOOPBACK, args });
    await runner.stop();
    expect((await rig.runner(["id", "--rotate"], runner.home)).code).toBe(0);
    const again = rig.spawnRunner(["start", "--name", "w1", ...args, "--join", runner.invite], runner.home);
    // It stands at the door with its new key.
    await again.waitFor(/dials \S+ \(/);
    const done = await rig.coordinator(["exec", "w1", "--", "echo", "new"]);
    expect([done.code, done.text, done.stderr]).toEqual([0, "new\n", expect.not.stringContaining("error")]);
    again.child.kill("SIGTERM");
    await again.ended;
  });
});

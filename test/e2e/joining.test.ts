// A runner that its coordinator cannot dial: it joins by the coordinator's invite, and dials in whenever a command listens.
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeNat, type Nat, whyNoNat } from "../rig/nat.ts";
import { openProxy, portOf } from "../rig/proxy.ts";
import { type Live, LOOPBACK, LOOPBACK_HOST, Rig, type RunOptions } from "../rig/rig.ts";

const lines = (count: number): string => Array.from({ length: count }, (_, index) => `line ${index}\n`).join("");

/** Gives back what it is given, on both outputs; what it was given is the proof that nothing was lost. */
const ECHO = ["sh", "-c", 'while read -r line; do echo "$line"; echo "$line" >&2; done; exit 5'];

const own = (text: string): string => text.replace(/^sortie: .*\n/gm, "");
const listenerOf = (rig: Rig): number =>
  Number.parseInt(readFileSync(join(rig.home, "coordinator", "listen", "lock"), "latin1"), 10);

/** An echo that has begun: it has given back the first line. */
async function echoing(rig: Rig, args: readonly string[] = [], options: RunOptions = {}): Promise<Live> {
  const live = rig.spawnCoordinator(["exec", "w1", ...args, "--", ...ECHO], options);
  live.child.stdin.write("line 0\n");
  await live.waitFor(/line 0\n/);
  return live;
}

async function expectWhole(live: Live, count: number): Promise<void> {
  const { code, text, stderr } = await live.ended;
  expect({ code, text, stderr: own(stderr) }).toEqual({ code: 5, text: lines(count), stderr: lines(count) });
}

/** Writes the lines up to this one, and ends the input. */
function finish(live: Live, count: number): void {
  live.child.stdin.end(lines(count).replace(/^line 0\n/, ""));
}

/** The whole of it, over whatever network. */
async function useJoined(rig: Rig, network?: string): Promise<void> {
  const coordinator = (...args: string[]) => rig.coordinator(args, { network });
  const exec = await coordinator("exec", "w1", "--", "sh", "-c", "echo out; echo err >&2; exit 7");
  expect(exec).toMatchObject({ code: 7, text: "out\n", stderr: "err\n" });
  expect((await coordinator("runners")).text).toMatch(/w1 .* up /);
  const path = rig.recipe(
    `import { job, recipe, sh } from "sortie";
     const first = job({ on: { runner: "w1" }, run: sh\`echo first\` });
     export default recipe({ first, second: job({ needs: [first], run: sh\`echo second\` }) });`,
  );
  const ran = await coordinator("run", path, "--format", "plain");
  expect([ran.code, ran.text]).toEqual([0, expect.stringMatching(/first[\s\S]*second/)]);
  expect((await coordinator("logs", "-f", "last/second")).text).toBe("second\n");
  expect((await coordinator("attach", "last")).code).toBe(0);
  expect((await coordinator("logs", "--from", "w1", "second")).text).toBe("second\n");
}

describe("a runner that listens on nothing", () => {
  const rig = new Rig();
  beforeAll(async () => {
    await rig.joinedRunner("w1", { invite: LOOPBACK });
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  it("joins by the coordinator's invite, and serves exec, run, logs and attach", async () => {
    await useJoined(rig);
    const [pin] = JSON.parse((await rig.coordinator(["trust", "list", "--json"])).text);
    expect(pin).toMatchObject({ name: "w1", addresses: [] });
  });

  it("is had by two commands at once; when the one that listens is killed, the other loses no byte", async () => {
    const first = await echoing(rig);
    const second = await echoing(rig);
    expect(listenerOf(rig)).toBe(first.child.pid);
    first.child.kill("SIGKILL");
    await first.ended;
    finish(second, 500);
    await expectWhole(second, 500);
    expect(second.stderr()).toContain("w1 is there again");
  });

  it("is not had through a command that was stopped, which is said, and is had again when that goes on", async () => {
    const stopped = await echoing(rig);
    stopped.child.kill("SIGSTOP");
    const other = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect([other.code, other.stderr]).toEqual([125, expect.stringContaining(`It is process ${stopped.child.pid}.`)]);
    stopped.child.kill("SIGCONT");
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "hello"])).text).toBe("hello\n");
    finish(stopped, 10);
    await expectWhole(stopped, 10);
  });

  it("stays connected while `coordinator listen` runs, and is taken over by others when that ends", async () => {
    const listening = rig.spawnCoordinator(["listen"]);
    await listening.waitFor(/listening: \S+\/p2p\//);
    const waiting = rig.spawnCoordinator(["listen"]);
    await waiting.waitFor(/another process/);
    const live = await echoing(rig);
    expect(listenerOf(rig)).toBe(listening.child.pid);
    listening.child.kill("SIGINT");
    expect((await listening.ended).code).toBe(0);
    finish(live, 300);
    await expectWhole(live, 300);
    await waiting.waitFor(/listening: /);
    waiting.child.kill("SIGINT");
    await waiting.ended;
  });
});

describe("a network that breaks between a joined runner and its coordinator", () => {
  const rig = new Rig();
  let proxy: Awaited<ReturnType<typeof openProxy>>;
  beforeAll(async () => {
    const port = (): number =>
      portOf(JSON.parse(readFileSync(join(rig.home, "coordinator", "listen.json"), "utf8")).listen);
    proxy = await openProxy(port, undefined, LOOPBACK_HOST);
    await rig.joinedRunner("w1", {
      args: ["-A", "--silence-after", "1s"],
      invite: [...LOOPBACK, "--address", `/ip4/127.0.0.1/tcp/${proxy.port}`],
    });
  });
  afterAll(async () => {
    await rig[Symbol.asyncDispose]();
    await proxy.close();
  });

  it("is cut in the middle, and every byte and the exit arrive, also at a command that goes through another", async () => {
    const lives = [await echoing(rig), await echoing(rig)];
    expect(listenerOf(rig)).toBe(lives[0]?.child.pid);
    proxy.cut();
    for (const live of lives) finish(live, 400);
    for (const live of lives) {
      await expectWhole(live, 400);
      expect(live.stderr()).toContain("w1 is there again");
    }
  });

  it("says nothing any more, as a NAT that forgot: the silence is noticed, and the runner dials again", async () => {
    const live = await echoing(rig, ["--silence-after", "1s"]);
    proxy.freeze();
    finish(live, 400);
    await live.waitFor(/the connection was lost/);
    proxy.thaw();
    await expectWhole(live, 400);
  });
});

describe("trust between a coordinator and a runner that joined it", () => {
  it("outlives the runner's process, which dials again without an invite", async () => {
    await using rig = new Rig();
    const runner = await rig.joinedRunner("w1", { invite: LOOPBACK });
    const live = await echoing(rig);
    await runner.stop("SIGKILL");
    await rig.joinedRunner("w1", { again: true });
    finish(live, 100);
    await expectWhole(live, 100);
  });

  it("is ended by the coordinator, with the calls that run", async () => {
    await using rig = new Rig();
    await rig.joinedRunner("w1", { invite: LOOPBACK });
    const listening = rig.spawnCoordinator(["listen"]);
    await listening.waitFor(/listening: /);
    const live = await echoing(rig);
    expect((await rig.coordinator(["trust", "revoke", "w1"])).code).toBe(0);
    const { code, stderr } = await live.ended;
    expect([code, stderr]).toEqual([125, expect.stringContaining("not trusted any more")]);
  });

  it("is ended by the runner, with the calls that run, and it dials no more", async () => {
    await using rig = new Rig();
    const runner = await rig.joinedRunner("w1", { invite: LOOPBACK });
    const live = await echoing(rig, ["--lease", "1s"]);
    const coordinator = (await rig.coordinator(["id"])).text.trim();
    expect((await rig.runner(["trust", "revoke", coordinator], runner.home)).code).toBe(0);
    const { code, stderr } = await live.ended;
    expect([code, stderr]).toEqual([125, expect.stringMatching(/dials this coordinator by itself, and did not/)]);
    expect((await rig.coordinator(["runners", "--json"])).text).toContain("unreachable");
  });
});

describe("an invite of a coordinator", () => {
  it("is over after its time, or taken back by Ctrl-C", async () => {
    await using rig = new Rig();
    const over = await rig.coordinator(["invite", "--ttl", "1s", ...LOOPBACK]);
    expect([over.code, over.stderr]).toEqual([1, expect.stringContaining("nobody used it")]);
    const live = rig.spawnCoordinator(["invite"]);
    const [, url = ""] = await live.waitFor(/(sortie:\/\S+)/);
    const listening = rig.spawnCoordinator(["listen"]);
    await listening.waitFor(/another process/);
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    await listening.waitFor(/listening: /);
    const late = await rig.runner(["start", "--join", url], join(rig.folder, "late"));
    expect([late.code, late.stderr]).toEqual([3, expect.stringContaining("error[PAIRING_REFUSED]")]);
  });

  it("may be a code, which names the coordinator by its address alone", async () => {
    await using rig = new Rig();
    const inviting = rig.spawnCoordinator(["invite", "--code", "--json", ...LOOPBACK]);
    const { code, peer, addresses } = JSON.parse((await inviting.waitFor(/^({.*})\n/))[1] ?? "");
    const at = addresses[0].replace(/\/p2p\/.*/, "");
    const home = join(rig.folder, "w1");
    const runner = rig.spawnRunner(["start", "--name", "w1", "-A", "--join", at, "--code", code], home);
    await runner.waitFor(/dials \S+ \(/);
    expect((await inviting.ended).text).toMatch(/\n{"joined":{"name":"w1","peer":"12D3Koo\w+"}}\n$/);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "hello"])).text).toBe("hello\n");
    const [pin] = JSON.parse((await rig.runner(["trust", "list", "--json"], home)).text);
    expect(pin).toMatchObject({ peer, addresses: [`${at}/p2p/${peer}`] });
  });

  it("is answered by the process that listens already", async () => {
    await using rig = new Rig();
    const listening = rig.spawnCoordinator(["listen", ...LOOPBACK]);
    await listening.waitFor(/listening: /);
    await rig.joinedRunner("w1");
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "hello"])).text).toBe("hello\n");
    const elsewhere = await rig.coordinator(["invite", "--listen", "/ip4/127.0.0.1/tcp/1"]);
    expect([elsewhere.code, elsewhere.stderr]).toEqual([2, expect.stringContaining("Another process of this")]);
  });
});

// The first of these tests is the same over loopback, for who is not root.
const noNat = whyNoNat();
if (noNat !== undefined) console.log(`left out, since ${noNat}: the same behind a real NAT`);
else
  describe("a runner behind a real NAT", () => {
    const reaches = (from: string, host: string): boolean => {
      // No route is an error at once; a link that is just coming up loses the first packet, which is sent again a second later.
      const probe = `const s = require("node:net").connect(22, "${host}"); s.setTimeout(20_000, () => process.exit(1));
      s.on("error", (e) => process.exit(e.code === "ECONNREFUSED" ? 0 : 1)); s.on("connect", () => process.exit(0))`;
      try {
        execFileSync("ip", ["netns", "exec", from, process.execPath, "-e", probe], { stdio: "pipe" });
        return true;
      } catch {
        return false;
      }
    };

    it("reaches its coordinator, which cannot reach it, and serves it all the same", async () => {
      using nat: Nat = makeNat();
      await using rig = new Rig();
      expect(reaches(nat.runner, nat.address)).toBe(true);
      expect(reaches(nat.coordinator, nat.hidden)).toBe(false);
      const networks = nat;
      await rig.joinedRunner("w1", { invite: ["--listen", "/ip4/0.0.0.0/tcp/7701"], networks });
      await useJoined(rig, nat.coordinator);
    });
  });

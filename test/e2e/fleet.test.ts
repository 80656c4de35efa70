import { createHash, randomBytes } from "node:crypto";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openTrust } from "../../protocol/trust.ts";
import { newPeer } from "../rig/peers.ts";
import { processesOf, residentBytesOf } from "../rig/processes.ts";
import { Rig, secondPress, until } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;

/** Its job says nothing for three minutes, beside all other tests: libp2p ends a TCP socket after two idle ones by default. */
const quiet = new Rig();
let said: ReturnType<Rig["coordinator"]>;
beforeAll(async () => {
  await quiet.pairedRunner("w1");
  said = quiet.coordinator(["exec", "w1", "--", "sh", "-c", "sleep 185; echo after"]);
});
afterAll(() => quiet[Symbol.asyncDispose]());

describe("a fleet of runners", () => {
  it("lists them with labels, slots and round trip, also one that is down", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "3", "--label", "gpu=a100"]);
    const gone = await rig.pairedRunner("w2");
    await gone.stop();
    const { code, text } = await rig.coordinator(["runners"]);
    expect(code).toBe(0);
    expect(text).toMatch(/^w1 +12D3\w+ +up +3 +0 +[\d.]+ ms +os=linux arch=\w+ gpu=a100$/m);
    expect(text).toMatch(/^w2 .*unreachable/m);
  });

  it("places jobs by label and by name", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--label", "zone=a"]);
    await rig.pairedRunner("w2", ["-A", "--label", "zone=b"]);
    const path = rig.recipe(
      recipe(
        `export default recipe({ a: job({ on: { zone: "a" }, run: "true" }), b: job({ on: { runner: "w2" }, run: "true" }) });`,
      ),
    );
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(0);
    expect(text).toMatch(/a +│ started on w1/);
    expect(text).toMatch(/b +│ started on w2/);
  });

  it("asks nobody else where every job names its runner", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1");
    openTrust(join(rig.home, "coordinator")).pin(await newPeer(), "far-away", ["/ip4/127.0.0.1/tcp/1"]);
    const path = rig.recipe(
      recipe(`export default recipe({ one: job({ run: "true" }), two: job({ on: { runner: "w1" }, run: "true" }) });`),
    );
    const named = await rig.coordinator(["run", path, "two"]);
    expect([named.code, `${named.text}${named.stderr}`]).toEqual([0, expect.not.stringContaining("far-away")]);
    const any = await rig.coordinator(["run", path]);
    expect([any.code, `${any.text}${any.stderr}`]).toEqual([0, expect.stringContaining("far-away")]);
  });

  it("refuses what a runner was not told to allow, naming the flag", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["--slots", "1"]);
    const { code, stderr } = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect(code).toBe(125);
    expect(stderr).toMatch(/error\[DENIED\].*w1.*run "true"/);
    expect(stderr).toContain("--allow-run");
    const run = await rig.coordinator(["run", "recipes/hello.ts"]);
    expect(run.code).toBe(3);
    expect(run.text).toContain("not told to let this coordinator");
  });

  it("says so when every slot is taken, and a run waits for one", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const holder = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; read line"]);
    await holder.waitFor(/up/);
    const { code, stderr } = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect(code).toBe(125);
    expect(stderr).toContain("error[RUNNER_FULL]");
    const run = rig.spawnCoordinator([
      "run",
      rig.recipe(recipe(`export default recipe({ a: job({ run: "echo mine" }) });`)),
    ]);
    await run.waitFor(/runner w1: 1 slot/);
    holder.child.stdin.end("go\n");
    expect((await holder.ended).code).toBe(0);
    const ended = await run.ended;
    expect(ended.code).toBe(0);
    expect(ended.text).toContain("mine");
  });

  it("names a runner that is down, and exits 3 when none answers", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    await runner.stop();
    const exec = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect(exec.code).toBe(125);
    expect(exec.stderr).toMatch(/error\[RUNNER_UNREACHABLE\]: w1: .*127\.0\.0\.1/);
    const run = await rig.coordinator(["run", "recipes/hello.ts"]);
    expect(run.code).toBe(3);
    expect(run.stderr).toContain("error[NO_RUNNER]");
    expect((await rig.coordinator(["run", "recipes/hello.ts", "--local"])).code).toBe(0);
  });

  it("takes an invite once, and refuses a coordinator whose trust was removed", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    const again = await rig.coordinator(["add", runner.invite], { env: { SORTIE_HOME: join(rig.folder, "other") } });
    expect(again.code).toBe(3);
    expect(again.stderr).toContain("error[PAIRING_REFUSED]");
    const job = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; exec sleep 5841"]);
    await job.waitFor(/up/);
    const listed = await rig.runner(["trust", "list"], runner.home);
    const peer = /(12D3\w+)/.exec(listed.text)?.[1] ?? "";
    expect((await rig.runner(["trust", "remove", peer], runner.home)).code).toBe(0);
    expect((await job.ended).code).toBe(125);
    expect(
      await until(
        () => processesOf("sleep\x005841"),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
    const refused = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toMatch(/error\[UNTRUSTED\]/);
    const invited = await rig.runner(["invite"], runner.home);
    expect((await rig.coordinator(["add", invited.text.trim()])).code).toBe(0);
    expect((await rig.coordinator(["exec", "w1", "--", "true"])).code).toBe(0);
  });

  it("ends the jobs of a runner that is told twice to stop, and leaves nothing", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1");
    const job = rig.spawnCoordinator(["exec", "w1", "--", "sh", "-c", "echo up; setsid sleep 5842 & sleep 4843"]);
    await job.waitFor(/up/);
    const both = (): number[] => ["5842", "4843"].flatMap((seconds) => processesOf(`sleep\0${seconds}`));
    expect(await until(both, (pids) => pids.length === 2)).toHaveLength(2);
    runner.child.kill("SIGTERM");
    await runner.waitFor(/draining: no new jobs; 1 runs still/);
    await secondPress();
    expect((await runner.stop()).code).toBe(0);
    const ended = await job.ended;
    expect(ended.code).toBe(130);
    expect(ended.stderr).toContain("cancelled by the runner");
    expect(both()).toEqual([]);
    const left = readdirSync(join(runner.home, "runner")).sort();
    expect(left).toEqual(["audit", "identity.key", "invites.json", "keeper", "trust.json"]);
    const keeper = join(runner.home, "runner", "keeper");
    const files = await until(
      () => readdirSync(keeper).sort(),
      (names) => names.length === 4,
    );
    expect(files).toEqual(["journals", "keeper.log", "owner", "work"]);
    expect(readdirSync(join(keeper, "work"))).toEqual([]);
  });

  it("does the job on another runner when the first one is lost", async () => {
    await using rig = new Rig();
    const first = await rig.pairedRunner("w1", ["-A", "--slots", "2"]);
    await rig.pairedRunner("w2", ["-A", "--slots", "1"]);
    const mark = join(rig.folder, "mark");
    const path = rig.recipe(
      recipe(
        `export default recipe({ twice: job({ run: sh\`if [ -e ${mark} ]; then echo second; else touch ${mark}; echo first; sleep 4845; fi\`, lease: "1s" }) });`.replaceAll(
          "${mark}",
          mark,
        ),
      ),
    );
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ first/);
    await first.stop("SIGKILL");
    const { code, text } = await live.ended;
    expect(text).toContain("started on w2, attempt 2");
    expect(text).toContain("│ second");
    expect(code).toBe(0);
    // The first one's keeper has ended it: its lease was over.
    const left = await until(
      () => processesOf("sleep\x004845"),
      (pids) => pids.length === 0,
    );
    expect(left).toEqual([]);
  });

  it("does not start a second runner on the same state", async () => {
    await using rig = new Rig();
    const runner = await rig.startRunner("w1");
    const second = await rig.runner(["start", "--listen", "/ip4/127.0.0.1/tcp/0"], runner.home);
    expect(second.code).toBe(3);
    expect(second.stderr).toContain(`error[STATE_LOCKED]: The process ${runner.pid} uses`);
  });
});

describe("every byte and every exit", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "16"]);
    await rig.pairedRunner("w2", ["-A", "--slots", "16"]);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const shaOf = (bytes: Uint8Array | string): string => createHash("sha256").update(bytes).digest("hex");

  it("brings a gibibyte of random bytes over unchanged", { timeout: 240_000 }, async () => {
    const file = join(rig.folder, "random.bin");
    const piece = randomBytes(64 * 1024 * 1024);
    const hash = createHash("sha256");
    for (let index = 0; index < 16; index++) {
      piece[index] = (piece[index] ?? 0) ^ 0xff;
      hash.update(piece);
      writeFileSync(file, piece, { flag: "a" });
    }
    const live = rig.spawnCoordinator(["exec", "w1", "--stdin=false", "--", "cat", file]);
    const seen = createHash("sha256");
    live.child.stdout.removeAllListeners("data");
    live.child.stdout.on("data", (bytes: Buffer) => seen.update(bytes));
    expect((await live.ended).code).toBe(0);
    expect(seen.digest("hex")).toBe(hash.digest("hex"));
  });

  const outputs: Record<string, { script: string; stdout: string; stderr?: string }> = {
    "a million short lines": {
      script: "seq 1000000",
      stdout: Array.from({ length: 1_000_000 }, (_, index) => `${index + 1}\n`).join(""),
    },
    "alternating one-byte writes": {
      script: "i=0; while [ $i -lt 3000 ]; do printf a; printf b >&2; i=$((i+1)); done",
      stdout: "a".repeat(3_000),
      stderr: "b".repeat(3_000),
    },
    "no line break at the end": { script: "printf end", stdout: "end" },
    "output in the last moment before the exit": {
      script: "printf out; printf err >&2; kill -9 $$",
      stdout: "out",
      stderr: "err",
    },
  };
  for (const [what, { script, stdout, stderr = "" }] of Object.entries(outputs)) {
    it(`keeps ${what}, in exec and in the log`, async () => {
      const exec = await rig.coordinator(["exec", "w1", "--", "sh", "-c", script]);
      expect(shaOf(exec.stdout)).toBe(shaOf(stdout));
      expect(exec.stderr.replace(/sortie: .*\n/, "")).toBe(stderr);
      await rig.coordinator([
        "run",
        rig.recipe(recipe(`export default recipe({ it: job({ run: ${JSON.stringify(script)} }) });`)),
      ]);
      const logs = await rig.coordinator(["logs", "last/it"]);
      expect(logs.stderr).not.toContain("incomplete");
      expect(shaOf(logs.stdout)).toBe(shaOf(stdout));
      expect(logs.stderr.replace(/sortie: .*\n/, "")).toBe(stderr);
    });
  }

  it("keeps invalid UTF-8", async () => {
    const { stdout } = await rig.coordinator(["exec", "w1", "--", "cat"], {
      input: Buffer.from(Array.from({ length: 256 }, (_, byte) => byte)),
    });
    expect([...stdout]).toEqual(Array.from({ length: 256 }, (_, byte) => byte));
  });

  it("tells the exits of thousands of jobs over two runners exactly", async () => {
    // SORTIE_JOBS=10000 is what it was written for, and takes minutes.
    const count = Number(process.env["SORTIE_JOBS"] ?? 1_500);
    const path = rig.recipe(
      recipe(`
      const run = (index: number) => index % 100 === 7 ? sh\`kill -KILL $$\` : index % 100 === 13 ? sh\`kill -USR1 $$\` : index % 20 === 3 ? sh\`exit \${index % 256}\` : ["true"] as const;
      export default recipe(Object.fromEntries(Array.from({ length: ${count} }, (_, index) => [\`j\${index}\`, job({ run: run(index) })])));`),
    );
    const live = rig.spawnCoordinator(["run", path, "--format", "json"]);
    const { text, code } = await live.ended;
    const exits = new Map<number, string>();
    for (const line of text.trim().split("\n")) {
      const event = JSON.parse(line);
      if (event.type !== "job-ended") continue;
      const index = Number(event.job.slice(1));
      expect(exits.has(index)).toBe(false);
      exits.set(index, event.exit?.reason === "signaled" ? event.exit.signal : String(event.exit?.code));
    }
    const expected = (index: number): string =>
      index % 100 === 7 ? "KILL" : index % 100 === 13 ? "USR1" : index % 20 === 3 ? String(index % 256) : "0";
    expect(exits.size).toBe(count);
    expect([...exits].filter(([index, exit]) => exit !== expected(index))).toEqual([]);
    expect(code).toBe(1);
  }, 240_000);
});

describe("memory", () => {
  it("stays flat on both sides while a slow reader holds up a flood", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ["-A", "--journal-size", "64MiB"]);
    const keeper = Number.parseInt(readFileSync(join(runner.home, "runner", "keeper", "lock"), "latin1"), 10);
    const live = rig.spawnCoordinator(["exec", "w1", "--stdin=false", "--", "cat", "/dev/zero"]);
    live.child.stdout.removeAllListeners("data");
    const memoryOf = (pid: number): number => residentBytesOf(pid) / 1024 ** 2;
    let read = 0;
    const samples: { front: number; keeper: number; coordinator: number }[] = [];
    // Five megabytes a second, for eight seconds: what is not read must not pile up anywhere.
    let began: number | undefined;
    for await (const bytes of live.child.stdout) {
      read += (bytes as Buffer).length;
      // From the first of them on: a command that is slow to start would be measured while it grows to what it needs.
      began ??= performance.now();
      const elapsed = performance.now() - began;
      if (elapsed > 8_000) break;
      if (elapsed > 2_000)
        samples.push({
          front: memoryOf(runner.pid),
          keeper: memoryOf(keeper),
          coordinator: memoryOf(live.child.pid as number),
        });
      await new Promise((resolve) => setTimeout(resolve, Math.max(0, read / 5_000 - elapsed)));
    }
    live.child.kill("SIGINT");
    await live.ended;
    expect(read).toBeGreaterThan(20_000_000);
    expect(samples).not.toEqual([]);
    // Mebibytes. The flood is hundreds a second; when a process collects its garbage is its own matter.
    for (const side of ["front", "keeper", "coordinator"] as const)
      expect(Math.max(...samples.map((sample) => sample[side])) - (samples[0]?.[side] ?? 0), side).toBeLessThan(64);
  });
});

describe("a job that says nothing for three minutes", () => {
  it("is kept", { timeout: 240_000 }, async () => {
    expect(await said).toMatchObject({ code: 0, text: "after\n" });
  });
});

import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, type RunnerProcess, secondPress, until } from "../rig/rig.ts";

const sha = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

describe("coordinator exec", () => {
  let rig: Rig;
  let runner: RunnerProcess;
  beforeAll(async () => {
    rig = new Rig();
    runner = await rig.pairedRunner("w1", ["-A", "--slots", "8", "--label", "tier=test"]);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  it("keeps stdout and stderr apart and exits with the command's code", async () => {
    const { code, text, stderr } = await rig.coordinator([
      "exec",
      "w1",
      "--",
      "sh",
      "-c",
      "echo out; echo err >&2; exit 7",
    ]);
    expect({ code, text, stderr }).toEqual({ code: 7, text: "out\n", stderr: "err\n" });
  });

  it("exits with 128+n when a signal ended the command, and says so", async () => {
    const { code, stderr } = await rig.coordinator(["exec", "w1", "--", "sh", "-c", "kill -SEGV $$"]);
    expect(code).toBe(139);
    expect(stderr).toContain("killed by SEGV");
  });

  it("pipes stdin and its end", async () => {
    const input = randomBytes(3_000_000);
    const { code, text } = await rig.coordinator(["exec", "w1", "--", "sha256sum"], { input });
    expect(code).toBe(0);
    expect(text).toBe(`${sha(input)}  -\n`);
  });

  it("is not held up by a command that never reads its stdin", async () => {
    const { code } = await rig.coordinator(["exec", "w1", "--", "true"], { input: randomBytes(20_000_000) });
    expect(code).toBe(0);
  });

  it("finds the runner by a prefix of its peer ID and by labels", async () => {
    for (const name of [runner.peer.slice(0, 20), runner.peer.slice(-8), "tier=test", "tier=test,os=linux"]) {
      const { code, text } = await rig.coordinator(["exec", name, "--", "echo", "found"]);
      expect({ name, code, text }).toEqual({ name, code: 0, text: "found\n" });
    }
  });

  it("hands on arguments as they are: options, empty ones, quotes, numbers and line breaks", async () => {
    const args = ["--help", "-n", "", "'", '"', "$HOME", "a b", "0123", "1e3", "line\nbreak", "--", "é✓😀", "*"];
    const { stdout } = await rig.coordinator(["exec", "w1", "--", "printf", "%s\\0", ...args]);
    expect(stdout.toString().split("\0").slice(0, -1)).toEqual(args);
  });

  it("exits 127 and says why when the command does not exist", async () => {
    const { code, stderr } = await rig.coordinator(["exec", "w1", "--", "no-such-command"]);
    expect(code).toBe(127);
    expect(stderr).toContain("no-such-command: command not found");
  });

  it("exits 125 and names the runners there are when there is no such runner", async () => {
    const { code, stderr } = await rig.coordinator(["exec", "nobody", "--", "true"]);
    expect(code).toBe(125);
    expect(stderr).toMatch(/error\[NOT_FOUND\].*nobody.*w1/);
  });

  it("exits 124 when the time is up, and leaves nothing running", async () => {
    const { code, stderr } = await rig.coordinator(["exec", "w1", "--timeout", "300ms", "--", "sleep", "4711"]);
    expect(code).toBe(124);
    expect(stderr).toContain("timed out after 0.3 s");
    expect(
      await until(
        () => processesOf("sleep\x004711"),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
  });

  it("ends the job and exits 130 at Ctrl-C", async () => {
    const live = rig.spawnCoordinator([
      "exec",
      "w1",
      "--",
      "sh",
      "-c",
      "sleep 4712 & setsid sleep 4713 & echo up; wait",
    ]);
    await live.waitFor(/up/);
    const both = (): number[] => [...processesOf("sleep\x004712"), ...processesOf("sleep\x004713")];
    expect(await until(both, (pids) => pids.length === 2)).toHaveLength(2);
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    expect(both()).toEqual([]);
  });

  it("leaves at once at the second Ctrl-C, and the runner ends the job", async () => {
    const keeper = Number.parseInt(readFileSync(join(runner.home, "runner", "keeper", "lock"), "latin1"), 10);
    const live = rig.spawnCoordinator([
      "exec",
      "w1",
      "--",
      "sh",
      "-c",
      "trap '' TERM; echo up; while :; do sleep 0.1; done # 4714",
    ]);
    await live.waitFor(/up/);
    // While its keeper is stopped the job cannot end: who waited for that would not be done.
    process.kill(keeper, "SIGSTOP");
    try {
      live.child.kill("SIGINT");
      await live.waitFor(/cancelling/);
      await secondPress();
      live.child.kill("SIGINT");
      expect((await live.ended).code).toBe(130);
    } finally {
      process.kill(keeper, "SIGCONT");
    }
    expect(
      await until(
        () => processesOf("# 4714"),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
  });

  it("shows the command in the history without its arguments", async () => {
    await rig.coordinator(["exec", "w1", "--", "echo", "s3cret-argument"]);
    const { text } = await rig.coordinator(["runs", "--json"]);
    expect(text).toContain("exec echo");
    expect(text).not.toContain("s3cret-argument");
  });

  it("can write to /dev/stdout and /dev/stderr, which are real pipes", async () => {
    const { code, text, stderr } = await rig.coordinator(
      ["exec", "w1", "--", "sh", "-c", "echo a > /dev/stderr; echo b | tee /dev/stderr; cat /dev/stdin > /dev/stdout"],
      { input: "c\n" },
    );
    expect({ code, text, stderr }).toEqual({ code: 0, text: "b\nc\n", stderr: "a\nb\n" });
  });

  it("ends quietly when its reader leaves", async () => {
    const live = rig.spawnCoordinator(["exec", "w1", "--", "yes"]);
    await live.waitFor(/y\n/);
    live.child.stdout.destroy();
    live.child.kill("SIGINT");
    expect((await live.ended).stderr).not.toContain("error[");
  });
});

// What a job of the runner's own machine may ask for, and how it is ended there.
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { encodeControl } from "../../protocol/chunk.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { openGroup } from "../../runner/keeper/cgroup.ts";
import type { Runner } from "../../runner/runner.ts";
import { processesOf, processesRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { finish, jobFolder, request, startJob, testRunner, untilSaid } from "./calls.ts";

let folder: string;
let runner: Runner;
beforeEach(async () => {
  folder = jobFolder();
  runner = await testRunner(folder);
});

const run = async (script: string, more: Partial<JobRequest> = {}) =>
  finish(await startJob(runner, request(script, more)));

/** The control group that the tests may make others in; undefined where the machine has none, or does not let them. */
function ownGroup(): { readonly path: string; readonly controllers: string[]; readonly subtree: string[] } | undefined {
  try {
    const group = openGroup("probe", {});
    group.remove();
    const path = join(group.path, "..");
    const read = (file: string): string[] => readFileSync(join(path, file), "latin1").split(/\s+/);
    return { path, controllers: read("cgroup.controllers"), subtree: read("cgroup.subtree_control") };
  } catch {
    return undefined;
  }
}

const isRoot = process.getuid?.() === 0;

describe("a job's rights and priority", () => {
  it("are the runner's where it asks for nothing", async () => {
    const { stdout } = await run("umask; nice; id -u");
    const mask = process.umask().toString(8).padStart(4, "0");
    expect(stdout).toBe(`${mask}\n0\n${process.getuid?.()}\n`);
  });

  it("has the umask and the niceness it asks for, and the runner keeps its own", async () => {
    const before = process.umask();
    const { stdout, exit } = await run("umask; nice; touch f; stat -c %a f; exit 3", { umask: 0o077, nice: 5 });
    expect({ stdout, code: exit.code }).toEqual({ stdout: "0077\n5\n600\n", code: 3 });
    expect(process.umask()).toBe(before);
  });

  it("tells a command that is missing as ever when it is started through others", async () => {
    const steps = [{ argv: ["no-such-command"] }];
    const { exit, stderr } = await run("", { nice: 5, steps });
    expect(exit).toMatchObject({ reason: "failed-to-start", code: 127 });
    expect(stderr).toBe("sortie: no-such-command: command not found\n");
    expect((await run("kill -SEGV $$", { nice: 5, umask: 0 })).exit).toMatchObject({ signal: "SEGV" });
  });

  if (isRoot) {
    it("runs as the user it asks for, in a directory of that user, with that user's groups", async () => {
      const script =
        "id -un; id -gn; echo $HOME $USER; pwd; touch mine && ls -ld . | cut -d' ' -f1,3; cd / && cd - >/dev/null && echo back";
      const { stdout, exit } = await run(script, { user: "nobody" });
      const [user, group, home, folder = "", own, back] = stdout.split("\n");
      expect({ user, group, home, own, back }).toEqual({
        user: "nobody",
        group: "nogroup",
        home: "/nonexistent nobody",
        own: "drwx------ nobody",
        back: "back",
      });
      expect(exit).toMatchObject({ code: 0 });
      expect(
        await until(
          () => existsSync(folder),
          (there) => !there,
        ),
      ).toBe(false);
      expect((await run("id -u; id -g; id -G", { user: "12345:54321", cwd: "/" })).stdout).toBe(
        "12345\n54321\n54321\n",
      );
      expect((await run("id -u; id -gn", { user: "nobody:daemon", cwd: "/" })).stdout).toBe("65534\ndaemon\n");
      // It cannot signal the runner, and the runner ends it all the same.
      const call = await startJob(
        runner,
        request("trap '' TERM; echo up; while :; do sleep 0.05; done", { user: "nobody" }),
      );
      await untilSaid(call, "up\n");
      await call.write(encodeControl({ type: "cancel", by: "user" }));
      expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", signal: "KILL" });
    });

    it("is refused where there is no such user or group", async () => {
      for (const [user, message] of [
        ["no-such-user", "there is no user no-such-user on the runner"],
        ["nobody:no-such-group", "there is no group no-such-group on the runner"],
        ["12345", "the user 12345 has no group: say 12345:GROUP"],
        // To the kernel these are no ids but "as it is": root.
        ["4294967295:4294967295", "there is no user 4294967295:4294967295: ids end at 4294967294"],
        ["99999999999:0", "there is no user 99999999999:0: ids end at 4294967294"],
      ] as const)
        expect((await run("true", { user })).exit).toMatchObject({
          reason: "failed-to-start",
          stage: "spawn",
          message,
        });
    });
  } else {
    it("cannot be another user's where the runner is not root's", async () => {
      const message = "only a runner that root started can run a job as nobody";
      expect((await run("true", { user: "nobody" })).exit).toMatchObject({ reason: "failed-to-start", message });
    });

    it("cannot have more priority where the runner is not root's", async () => {
      const message = "only a runner that root started can run a job with a niceness below 0";
      expect((await run("true", { nice: -5 })).exit).toMatchObject({ reason: "failed-to-start", message });
    });
  }
});

describe("a job's limits", () => {
  it("are set on its control group where the machine has that, and else refused with what to do", async () => {
    const own = ownGroup();
    for (const [limits, controller, file] of [
      [{ pids: 20 }, "pids", "pids.max"],
      [{ memory: 64 * 1024 * 1024 }, "memory", "memory.max"],
      [{ cpus: 0.5 }, "cpu", "cpu.max"],
    ] as const) {
      const script = `cat "$(awk '$3 == "cgroup2" { print $2 }' /proc/mounts)$(sed -n 's/^0:://p' /proc/self/cgroup)/${file}"`;
      const { exit, stdout } = await run(script, { limits });
      if (own?.subtree.includes(controller)) {
        expect(exit).toMatchObject({ code: 0 });
        expect(stdout).toBe({ pids: "20\n", memory: "67108864\n", cpu: "50000 100000\n" }[controller]);
      } else if (exit.reason === "failed-to-start") {
        expect(exit.stage).toBe("spawn");
        expect(exit.message).toMatch(/^limits cannot be set: .+; start the runner as a service of its own/);
      } else {
        expect(own?.controllers).toContain(controller);
      }
      if (!own?.controllers.includes(controller)) expect(exit.reason).toBe("failed-to-start");
    }
  });
});

describe("the end of a job", () => {
  it("says what a cancellation ended, and how", async () => {
    const script = "setsid sleep 4878 & (trap '' TERM; exec sleep 4879) & wait";
    const call = await startJob(runner, request(script, { graceMs: 1_000 }));
    const [sleeper, stubborn] = await until(
      () => ["4878", "4879"].flatMap((seconds) => processesRunning("sleep", seconds)),
      (pids) => pids.length === 2,
    );
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    const { exit } = await finish(call);
    if (exit.reason !== "cancelled" || !exit.ending) throw new Error(`no ending: ${JSON.stringify(exit)}`);
    expect(exit.ending.ended).toContainEqual({ pid: sleeper, name: "sleep", by: "TERM" });
    expect(exit.ending.ended.filter(({ by }) => by === "KILL")).toEqual([{ pid: stubborn, name: "sleep", by: "KILL" }]);
    expect(exit.ending.survivors).toEqual([]);
    expect(exit.ending.more).toBeUndefined();
  });

  it("names no more processes than an exit holds, and counts the others", async () => {
    const call = await startJob(
      runner,
      request("i=0; while [ $i -lt 40 ]; do sleep 4872 & i=$((i+1)); done; echo up; wait"),
    );
    await untilSaid(call, "up\n");
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    const { exit } = await finish(call);
    expect(exit).toMatchObject({ reason: "cancelled", ending: { survivors: [], more: 9 } });
    expect(exit.reason === "cancelled" && exit.ending?.ended).toHaveLength(32);
  });

  for (const [what, script, limits] of [
    [
      "a daemon by double fork and setsid",
      "(setsid sh -c 'sleep 4873 & exit' >/dev/null 2>&1 </dev/null &)",
      undefined,
    ],
    ["one that was detached twice", "(setsid setsid nohup sleep 4873 >/dev/null 2>&1 </dev/null &)", undefined],
    ...(ownGroup()
      ? [
          [
            "by its control group a daemon that cleared its environment as well",
            "(env -i setsid /bin/sh -c 'sleep 4873 & exit' >/dev/null 2>&1 </dev/null &)",
            {},
          ] as const,
        ]
      : []),
  ] as const)
    it(`finds ${what}, when it is cancelled and when it ends by itself`, async () => {
      const there = () =>
        until(
          () => processesRunning("sleep", "4873"),
          (pids) => pids.length === 1,
        );
      const gone = () =>
        until(
          () => processesOf("sleep\x004873"),
          (pids) => pids.length === 0,
        );
      const call = await startJob(runner, request(`${script}; echo up; sleep 4874`, limits && { limits }));
      await untilSaid(call, "up\n");
      expect(await there()).toHaveLength(1);
      await call.write(encodeControl({ type: "cancel", by: "user" }));
      expect((await finish(call)).exit).toMatchObject({ reason: "cancelled" });
      expect(await gone()).toEqual([]);
      // Seen, however slowly the looks go.
      const go = join(folder, "go");
      const waits = `until [ -e ${go} ]; do sleep 0.02; done`;
      const ended = startJob(runner, request(`${script}; ${waits}; exit 4`, limits && { limits }));
      expect(await there()).toHaveLength(1);
      writeFileSync(go, "");
      expect((await finish(await ended)).exit).toMatchObject({ reason: "exited", code: 4 });
      expect(await gone()).toEqual([]);
    });

  it("leaves no control group behind", async () => {
    const parent = ownGroup()?.path;
    const wanted = request("true", { limits: {} });
    const { exit } = await finish(await startJob(runner, wanted));
    expect(exit.reason).toBe(parent === undefined ? "failed-to-start" : "exited");
    const left = () =>
      parent === undefined ? [] : readdirSync(parent).filter((name) => name.includes(wanted.attemptId));
    expect(await until(left, (names) => names.length === 0)).toEqual([]);
  });
});

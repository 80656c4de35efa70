import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it, onTestFinished } from "vitest";
import { encodeControl } from "../../protocol/chunk.ts";
import { limits } from "../../protocol/limits.ts";
import { openHosts } from "../../runner/keeper/backends/ssh/hosts.ts";
import type { Runner } from "../../runner/runner.ts";
import { processesOf, processesRunning } from "../rig/processes.ts";
import { type CuttingProxy, openProxy } from "../rig/proxy.ts";
import { until } from "../rig/rig.ts";
import { childrenOf, hostBlock, type Sshd, startSshd, whyNoSshd } from "../rig/sshd.ts";
import { finish, jobFolder, request, startJob, testRunner, untilSaid } from "./calls.ts";
import { sshJobs } from "./ssh-jobs.ts";

const why = whyNoSshd();
if (why) console.log(why);

const accepted = (sshd: Sshd): number => sshd.log().split("Accepted publickey").length - 1;

describe.skipIf(why)("the sessions of a host", () => {
  it("share one connection, which is closed when it was idle for a while", async () => {
    await using sshd = await startSshd();
    await using jobs = sshJobs(sshd.config, { idleMs: 100 });
    const results = await Promise.all(Array.from({ length: 8 }, (_, code) => jobs.sh(`exit ${code}`)));
    expect(results.map(({ settled }) => settled.kind === "exited" && settled.code)).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(accepted(sshd)).toBeLessThanOrEqual(2);
    expect(
      await until(
        () => childrenOf(sshd.pid).length,
        (count) => count === 0,
      ),
    ).toBe(0);
    const before = accepted(sshd);
    expect((await jobs.sh("exit 9")).settled).toMatchObject({ code: 9 });
    expect(accepted(sshd)).toBe(before + 1);
  });

  it("are forgotten with their host once nobody uses it and its last connection is gone", async () => {
    await using sshd = await startSshd();
    const hosts = openHosts(sshd.config, { idleMs: 100, reconnectMs: 1_000, answerMs: 1_000, startMs: 1_000 });
    const never = new AbortController().signal;
    const [one, two] = await Promise.all([
      hosts.hold({ host: "target" }, never),
      hosts.hold({ host: "target" }, never),
    ]);
    expect(one.host).toBe(two.host);
    const gone = until(
      () => hosts.size,
      (size) => size === 0,
    );
    await one.host.ready(never);
    one.release();
    one.release();
    await until(
      () => childrenOf(sshd.pid).length,
      (count) => count === 0,
    );
    // The other one may make a connection still.
    expect(hosts.size).toBe(1);
    await two.host.ready(never);
    two.release();
    expect(hosts.size).toBe(1);
    expect(await gone).toBe(0);
    const none = await hosts.hold({ host: "target", port: 1 }, never);
    await expect(none.host.ready(never)).rejects.toThrow("ECONNREFUSED");
    expect(hosts.size).toBe(1);
    none.release();
    expect(hosts.size).toBe(0);
    await hosts.close();
    await expect(hosts.hold({ host: "target" }, never)).rejects.toThrow("leaving");
  });

  it.each([1, 3])("learn that the server allows %i, with 50 jobs at once", async (maxSessions) => {
    await using sshd = await startSshd({ maxSessions });
    await using jobs = sshJobs(sshd.config);
    const results = await Promise.all(
      Array.from({ length: 50 }, (_, index) => jobs.sh(`echo ${index}; sleep 0.1; exit ${index}`)),
    );
    for (const [index, { settled, stdout }] of results.entries())
      expect([settled, stdout]).toEqual([{ kind: "exited", code: index, heldOpen: false }, `${index}\n`]);
    expect(jobs.logged).toEqual([]);
  });

  it("wait for one that is being closed, however late the server answers", async () => {
    let proxy: CuttingProxy | undefined;
    await using sshd = await startSshd({
      maxSessions: 1,
      via: async (port) => {
        proxy = await openProxy(() => port);
        return proxy.port;
      },
    });
    // What comes in fifty milliseconds is passed on together: a close, and what is asked for behind it.
    const passing = setInterval(() => {
      proxy?.thaw();
      setImmediate(() => proxy?.freeze());
    }, 50);
    try {
      await using jobs = sshJobs(sshd.config);
      const results = await Promise.all(Array.from({ length: 20 }, () => jobs.sh("exit 4")));
      for (const { settled } of results) expect(settled).toEqual({ kind: "exited", code: 4, heldOpen: false });
      expect(jobs.logged).toEqual([]);
    } finally {
      clearInterval(passing);
      await proxy?.close();
    }
  });

  it("end a job also where every session is taken", async () => {
    await using sshd = await startSshd({ maxSessions: 1 });
    await using jobs = sshJobs(sshd.config);
    const job = await jobs.open();
    const { running } = await job.startUntil({ shell: "echo up; sleep 7401" }, /up/);
    await until(
      () => processesRunning("sleep", "7401").length,
      (count) => count === 1,
    );
    expect((await running.kill(1_000)).ended.map(({ name }) => name)).toContain("sleep");
    expect((await running.settled).kind).toBe("signaled");
    await job.site.close();
  });

  it("are refused by a server that gives none, in one sentence", async () => {
    await using sshd = await startSshd({ maxSessions: 0 });
    await using jobs = sshJobs(sshd.config);
    const { settled } = await jobs.run({ argv: ["true"] });
    expect(settled).toMatchObject({
      kind: "failed",
      stage: "host",
      message: expect.stringContaining("runs no command"),
    });
  });

  it("open connections one at a time, and wait where the server drops one (MaxStartups)", async () => {
    for (const [allowed, dropped] of [
      [3, false],
      [1, undefined],
    ] as const) {
      await using sshd = await startSshd({ maxSessions: 1, lines: [`MaxStartups ${allowed}:100:${allowed}`] });
      await using jobs = sshJobs(sshd.config);
      const results = await Promise.all(Array.from({ length: 12 }, () => jobs.sh("sleep 0.1")));
      expect(results.every(({ settled }) => settled.kind === "exited" && settled.code === 0)).toBe(true);
      if (dropped === false) expect(sshd.log()).not.toContain("drop connection");
    }
  });
});

describe.skipIf(why)("a start", () => {
  it("stops waiting for a session when it is cancelled, and starts nothing", async () => {
    // Ten connections of one session each.
    await using sshd = await startSshd({ maxSessions: 1 });
    await using jobs = sshJobs(sshd.config);
    const busy = await Promise.all(Array.from({ length: limits.sshConnections }, () => jobs.open()));
    const started = await Promise.all(busy.map((job) => job.startUntil({ shell: "echo up; sleep 7409" }, /up/)));
    const cancel = new AbortController();
    const job = await jobs.open({}, cancel.signal);
    const ran = join(sshd.home, "ran");
    const waiting = job.run({ argv: ["touch", ran] });
    await delay(100);
    const began = performance.now();
    cancel.abort();
    expect((await waiting).settled).toMatchObject({ kind: "failed", message: expect.stringContaining("cancelled") });
    expect(await job.site.close()).toBe(true);
    expect(performance.now() - began).toBeLessThan(limits.sshAnswerMs / 2);
    // The one behind it has the first session that is free.
    const next = await jobs.open();
    const other = next.run({ argv: ["true"] });
    await started[0]?.running.kill(1_000);
    expect((await other).settled).toMatchObject({ code: 0 });
    expect(existsSync(ran)).toBe(false);
    await Promise.all(started.map(({ running }) => running.kill(1_000)));
    await Promise.all(started.map(({ result }) => result));
    await Promise.all([...busy, next].map(({ site }) => site.close()));
  });

  it("is given up where the server does not answer: when it is cancelled, or after a while", async () => {
    await using sshd = await startSshd();
    await using jobs = sshJobs(sshd.config, { answerMs: 3_000 });
    const busy = await jobs.open();
    const { running, result } = await busy.startUntil({ shell: "echo up; sleep 7410" }, /up/);
    const cancel = new AbortController();
    const job = await jobs.open({}, cancel.signal);
    const other = await jobs.open();
    const server = childrenOf(sshd.pid);
    for (const pid of server) process.kill(pid, "SIGSTOP");
    const results = [job.run({ argv: ["true"] }), other.run({ argv: ["true"] })] as const;
    cancel.abort();
    // The one that is cancelled does not wait for as long as the other one.
    expect((await Promise.race(results)).settled).toMatchObject({ message: expect.stringContaining("cancelled") });
    expect((await results[1]).settled).toMatchObject({
      kind: "failed",
      stage: "host",
      message: expect.stringContaining("did not answer within 3 s"),
    });
    expect(await Promise.all([job.site.close(), other.site.close()])).toEqual([true, true]);
    for (const pid of server) process.kill(pid, "SIGCONT");
    expect((await running.kill(1_000)).survivors).toEqual([]);
    await result;
    expect(await busy.site.close()).toBe(true);
  });

  it("has another connection where nothing is answered on one that nobody else uses", async () => {
    await using sshd = await startSshd();
    await using jobs = sshJobs(sshd.config, { answerMs: 3_000 });
    expect((await jobs.sh("exit 1")).settled).toMatchObject({ code: 1 });
    for (const pid of childrenOf(sshd.pid)) process.kill(pid, "SIGSTOP");
    expect((await jobs.sh("exit 2")).settled).toMatchObject({ code: 2 });
    expect(accepted(sshd)).toBe(2);
  });

  it.each(["cancelled", "too slow"])("that is %s while the login's profile runs is never run after", async (what) => {
    await using sshd = await startSshd();
    await using jobs = sshJobs(sshd.config, what === "too slow" ? { startMs: 3_000 } : {});
    const began = join(sshd.home, "began");
    const go = join(sshd.home, "go");
    const ran = join(sshd.home, "ran");
    const profile = `echo busy; touch ${began}; until [ -e ${go} ]; do sleep 0.05; done\n`;
    writeFileSync(join(sshd.home, ".bashrc"), profile);
    const cancel = new AbortController();
    const job = await jobs.open({ stdin: true }, cancel.signal);
    const result = job.run({ argv: ["touch", ran] }, Buffer.from("input"));
    expect(
      await until(
        () => existsSync(began),
        (is) => is,
      ),
    ).toBe(true);
    if (what === "cancelled") cancel.abort();
    expect((await result).settled).toMatchObject({
      kind: "failed",
      stage: "host",
      message: expect.stringContaining(what === "cancelled" ? "cancelled" : "within 3 s: busy"),
    });
    // Those of this server alone: other files have their own.
    const shells = (): number[] => {
      const own = new Set(processesOf(sshd.home));
      return processesOf("sortie-ready").filter((pid) => own.has(pid));
    };
    // One that waits, and what it forks for that, until it is a program of its own.
    expect(shells()).not.toEqual([]);
    writeFileSync(go, "");
    expect(await until(shells, (pids) => pids.length === 0)).toEqual([]);
    expect(existsSync(ran)).toBe(false);
    expect(await job.site.close()).toBe(true);
    writeFileSync(join(sshd.home, ".bashrc"), "");
    expect((await jobs.sh("exit 3")).settled).toMatchObject({ code: 3 });
  });
});

describe.skipIf(why)("a whole job", () => {
  let work: string;
  const runnerWith = async (config: string, slots: number): Promise<Runner> => {
    process.env["SORTIE_SSH_CONFIG"] = config;
    onTestFinished(() => void delete process.env["SORTIE_SSH_CONFIG"]);
    const folder = jobFolder();
    work = join(folder, "work");
    return testRunner(folder, { slots });
  };
  const ssh = { host: "target" };
  const cancel = encodeControl({ type: "cancel", by: "user" });

  it("ends soon when it is cancelled, or runs out of time, while it waits for a session", async () => {
    await using sshd = await startSshd({ maxSessions: 1 });
    const runner = await runnerWith(sshd.config, limits.sshConnections + 2);
    const busy = await Promise.all(
      Array.from({ length: limits.sshConnections }, () => startJob(runner, request("echo up; sleep 7411", { ssh }))),
    );
    await Promise.all(busy.map((call) => untilSaid(call, "up\n")));
    const ran = join(sshd.home, "ran");
    const began = performance.now();
    const late = await startJob(runner, request(`touch ${ran}`, { ssh, timeoutMs: 500 }));
    const cancelled = await startJob(runner, request(`touch ${ran}`, { ssh }));
    expect((await finish(late)).exit).toMatchObject({ reason: "timeout", code: null, signal: null });
    await cancelled.write(cancel);
    expect((await finish(cancelled)).exit).toMatchObject({ reason: "cancelled", by: "user", code: null, signal: null });
    expect(performance.now() - began).toBeLessThan(limits.sshAnswerMs / 2);
    await Promise.all(busy.map((call) => call.write(cancel)));
    for (const call of busy) {
      const { exit } = await finish(call);
      expect(exit).toMatchObject({ reason: "cancelled", signal: "TERM", ending: { survivors: [] } });
      expect(exit).not.toHaveProperty("ending.unknown");
    }
    expect(existsSync(ran)).toBe(false);
    expect(processesOf("sleep\x007411")).toEqual([]);
    // While there is a server: without one, what is left there could not be looked for.
    const cleaned = await until(
      () => readdirSync(work),
      (names) => names.length === 0,
    );
    expect(cleaned).toEqual([]);
  });

  it("ends soon when it is cancelled while its host is connected to", async () => {
    const silent = createServer((socket) => socket.on("error", () => {}).resume());
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => new Promise<void>((resolve) => silent.close(() => resolve())));
    await using sshd = await startSshd();
    const config = `${sshd.config}.silent`;
    writeFileSync(config, hostBlock("target", { ...sshd, port: (silent.address() as AddressInfo).port }));
    const runner = await runnerWith(config, 1);
    const connected = once(silent, "connection");
    const call = await startJob(runner, request("true", { ssh }));
    await connected;
    const began = performance.now();
    await call.write(cancel);
    expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", by: "user", code: null, signal: null });
    expect(performance.now() - began).toBeLessThan(limits.sshConnectMs / 2);
  });
});

describe.skipIf(why)("a connection that is lost", () => {
  /** A server behind a proxy, whose keepalive fails within three seconds. */
  async function behindProxy() {
    let proxy: CuttingProxy | undefined;
    const sshd = await startSshd({
      via: async (port) => {
        proxy = await openProxy(() => port);
        return proxy.port;
      },
    });
    const text = readFileSync(sshd.config, "utf8");
    const lines = ["ServerAliveInterval 1", "ServerAliveCountMax 2", "ConnectTimeout 10"];
    writeFileSync(sshd.config, `${text.trimEnd()}\n${lines.map((line) => `  ${line}\n`).join("")}`);
    return {
      sshd,
      proxy: proxy as CuttingProxy,
      async [Symbol.asyncDispose]() {
        await proxy?.close();
        await sshd[Symbol.asyncDispose]();
      },
    };
  }

  it("is lost, never 0, for each of its jobs, and what they ran is ended", async () => {
    await using rig = await behindProxy();
    await using jobs = sshJobs(rig.sshd.config);
    const open = await Promise.all(Array.from({ length: 5 }, () => jobs.open()));
    const started = await Promise.all(
      open.map((job) =>
        job.startUntil({ shell: "setsid -f sleep 7402; env -i sleep 7403 & echo up; wait; exit 0" }, /up/),
      ),
    );
    rig.proxy.cut();
    for (const { result } of started) {
      const { settled, stdout } = await result;
      expect(settled).toMatchObject({ kind: "lost", message: expect.stringContaining("what it ran there was ended") });
      expect(stdout).toBe("up\n");
    }
    expect([...processesOf("sleep\x007402"), ...processesOf("sleep\x007403")]).toEqual([]);
    await Promise.all(open.map(({ site }) => site.close()));
  });

  it("is noticed where nothing is closed, by the keepalive, within its bound", async () => {
    await using rig = await behindProxy();
    await using jobs = sshJobs(rig.sshd.config);
    const job = await jobs.open({ stdin: true });
    const { running, result } = await job.startUntil({ shell: "echo up; sleep 7404" }, /up/);
    rig.proxy.freeze();
    const began = performance.now();
    running.stdin?.write(Buffer.alloc(4 * 1024 * 1024));
    // The one that looks for the host again is the second.
    await until(
      () => rig.proxy.open,
      (count) => count > 1,
    );
    expect(performance.now() - began).toBeLessThan(15_000);
    rig.proxy.thaw();
    expect((await result).settled).toMatchObject({
      kind: "lost",
      message: expect.stringMatching(/Keepalive timeout.*was ended/),
    });
    expect(processesOf("sleep\x007404")).toEqual([]);
    await job.site.close();
  });

  it("is noticed where the server's process is stopped", async () => {
    await using rig = await behindProxy();
    await using jobs = sshJobs(rig.sshd.config);
    const job = await jobs.open();
    const { result } = await job.startUntil({ shell: "echo up; sleep 7405" }, /up/);
    for (const pid of childrenOf(rig.sshd.pid)) process.kill(pid, "SIGSTOP");
    expect((await result).settled).toMatchObject({ kind: "lost", message: expect.stringContaining("was ended") });
    await job.site.close();
  });

  it("says that its job may go on where the host does not come back within the bound", async () => {
    await using rig = await behindProxy();
    const jobs = sshJobs(rig.sshd.config, { reconnectMs: 1_500 });
    const job = await jobs.open();
    const { running, result } = await job.startUntil({ shell: "echo up; sleep 7406" }, /up/);
    await rig.proxy.close();
    const began = performance.now();
    expect((await result).settled).toMatchObject({ kind: "lost", message: expect.stringContaining("may still run") });
    expect(performance.now() - began).toBeLessThan(limits.sshReconnectMs / 2);
    expect(await running.kill(0)).toEqual({
      ended: [],
      survivors: [],
      unknown: expect.stringContaining("may still run"),
    });
    expect(await job.site.close()).toBe(false);
    expect(jobs.logged.length).toBe(1);
    await expect(jobs.backend.reap(job.request.attemptId, job.marks.at(-1) ?? "")).rejects.toThrow(
      "could not be reached",
    );
    // A later keeper, once the host is in reach again.
    const direct = `${rig.sshd.config}.direct`;
    writeFileSync(rig.sshd.knownHosts, `[127.0.0.1]:${rig.sshd.port} ${rig.sshd.hostKey}\n`);
    writeFileSync(direct, hostBlock("target", rig.sshd));
    await using next = sshJobs(direct);
    await next.backend.reap(job.request.attemptId, job.marks.at(-1) ?? "");
    await jobs[Symbol.asyncDispose]();
  });

  it("while a job is being cancelled gives what was ended in the end", async () => {
    await using rig = await behindProxy();
    await using jobs = sshJobs(rig.sshd.config);
    const job = await jobs.open();
    const { running, result } = await job.startUntil(
      { shell: "trap '' TERM; echo up; while :; do sleep 7407; done" },
      /up/,
    );
    const ending = running.kill(20_000);
    await delay(300);
    rig.proxy.cut();
    expect((await result).settled.kind).toBe("lost");
    expect((await ending).survivors).toEqual([]);
    expect(processesOf("sleep\x007407")).toEqual([]);
    await job.site.close();
  });

  it("while a job is being cancelled is no clean end where the host does not come back", async () => {
    await using rig = await behindProxy();
    const jobs = sshJobs(rig.sshd.config, { reconnectMs: 1_500 });
    const job = await jobs.open();
    const { running, result } = await job.startUntil(
      { shell: "trap '' TERM; echo up; while :; do sleep 7408; done" },
      /up/,
    );
    const ending = running.kill(20_000);
    await delay(300);
    await rig.proxy.close();
    expect((await result).settled).toMatchObject({ kind: "lost", message: expect.stringContaining("may still run") });
    expect(await ending).toEqual({ ended: [], survivors: [], unknown: expect.stringContaining("may still run") });
    expect(await job.site.close()).toBe(false);
    const direct = `${rig.sshd.config}.direct`;
    writeFileSync(rig.sshd.knownHosts, `[127.0.0.1]:${rig.sshd.port} ${rig.sshd.hostKey}\n`);
    writeFileSync(direct, hostBlock("target", rig.sshd));
    await using next = sshJobs(direct);
    for (let times = 0; times < 2; times++) await next.backend.reap(job.request.attemptId, job.marks.at(-1) ?? "");
    expect(next.logged).toEqual([]);
    expect(processesOf("sleep\x007408")).toEqual([]);
    await jobs[Symbol.asyncDispose]();
  });

  it("is made anew for the next job where it was idle", async () => {
    await using rig = await behindProxy();
    await using jobs = sshJobs(rig.sshd.config);
    expect((await jobs.sh("exit 1")).settled).toMatchObject({ code: 1 });
    rig.proxy.cut();
    expect((await jobs.sh("exit 2")).settled).toMatchObject({ code: 2 });
  });
});

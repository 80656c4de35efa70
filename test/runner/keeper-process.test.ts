import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { encodeControl } from "../../protocol/chunk.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson } from "../../protocol/make-call.ts";
import type { JobRequest, KeeperInfo } from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { socketChannel } from "../../protocol/socket-channel.ts";
import { admitAll } from "../../runner/admission.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { KEEPER_PROTOCOL } from "../../runner/keeper/keeper.ts";
import { type KeeperLink, keeperProcess } from "../../runner/keeper/keeper-link.ts";
import { socketPath } from "../../runner/keeper/keeper-socket.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { sourceUrl } from "../rig/peers.ts";
import { isRunning, openFilesOf, processesOf } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import {
  attach,
  codeOf,
  endOf,
  finish,
  jobFolder,
  listJobs,
  request,
  startJob,
  testRunner,
  untilSaid,
} from "./calls.ts";
import { drive, drivenRequest, within } from "./driven-jobs.ts";

const decision = { peer: "test", name: "test", wants: [], rule: "a test" };
let folder: string;
let keepers: string;
beforeEach(() => {
  folder = jobFolder();
  keepers = join(folder, "keeper");
});

const infoOf = async (link: KeeperLink): Promise<KeeperInfo> => callJson(await link.open(), "/keeper/info", {});

/** One that is just leaving, or was killed, is followed by another one. */
async function infoSoon(link: KeeperLink): Promise<KeeperInfo> {
  const info = await until(
    () => infoOf(link).catch(() => undefined),
    (found) => found !== undefined,
  );
  return info ?? infoOf(link);
}

/** The folder's keeper, which is gone when the test ends, with all its jobs; a front that closes leaves it there. */
async function keeper(): Promise<KeeperLink> {
  const link = await keeperProcess(keepers);
  onTestFinished(async () => {
    const { pid } = await infoSoon(link);
    await callJson(await link.open(), "/keeper/cancel", { owner: null });
    await link.close();
    expect(await isGone(pid)).toBe(true);
    expect(existsSync(join(keepers, "keeper.sock"))).toBe(false);
  });
  return { ...link, close: async () => {} };
}

const isGone = (pid: number): Promise<boolean> =>
  until(
    () => !isRunning(pid),
    (gone) => gone,
  );

/** One that leaves so soon that a front which is held up finds it gone again, and asks for another. */
async function keeperSoon(path: string, program: string): Promise<KeeperLink> {
  const link = await until(
    () => keeperProcess(path, { program }).catch(() => undefined),
    (found) => found !== undefined,
  );
  return link ?? keeperProcess(path, { program });
}

/** A keeper program that leaves sooner than is usual. */
function leavesAfter(milliseconds: number): string {
  const path = join(folder, "keeper-program.ts");
  writeFileSync(
    path,
    `import { runKeeper } from ${sourceUrl("runner/keeper/keeper-process.ts")};
    await runKeeper(process.argv[2] as string, { idleMs: ${milliseconds} });
    process.exit(0);`,
  );
  return path;
}

/** As a coordinator does, that tries again what was lost. */
async function attachSoon(runner: Runner, wanted: JobRequest): ReturnType<typeof attach> {
  const codes = new Set<string>();
  const call = await until(
    () => attach(runner, wanted).catch((error: SortieError) => void codes.add(error.code)),
    (attached) => attached !== undefined,
  );
  expect([...codes].filter((code) => code !== "CONNECTION_LOST")).toEqual([]);
  if (!call) throw new Error("it was not found again");
  return call;
}

describe("a keeper process", () => {
  it("serves jobs through its front as one in the same process does", async () => {
    const runner = await testRunner(folder, { keeper: await keeper() });
    const { stdout, stderr, exit } = await finish(await startJob(runner, request("echo out; echo err >&2; exit 3")));
    expect([stdout, stderr]).toEqual(["out\n", "err\n"]);
    expect(exit).toMatchObject({ reason: "exited", code: 3, bytes: { stdout: 4, stderr: 4 } });
    const big = await startJob(runner, request("head -c 30000000 /dev/zero"), { window: limits.window });
    expect((await finish(big)).stdout.length).toBe(30_000_000);
    const input = Buffer.alloc(1_000_000, "y");
    const counting = await startJob(runner, request("wc -c", { stdin: true }), { window: limits.window });
    await counting.write([Uint8Array.of(0, 0, 15, 66, 64), input]);
    await counting.write(encodeControl({ type: "eof" }));
    expect((await finish(counting)).stdout.trim()).toBe("1000000");
  });

  it("goes on with its jobs when its front is killed, and the next front finds them", async () => {
    await keeper();
    const wanted = request("echo before; while ! [ -e go ]; do sleep 0.02; done; echo after", { cwd: folder });
    const code = `
      import { keeperProcess } from ${sourceUrl("runner/keeper/keeper-link.ts")};
      import { callRaw } from ${sourceUrl("protocol/make-call.ts")};
      const link = await keeperProcess(${JSON.stringify(keepers)});
      const call = await callRaw(await link.open(), "/keeper/run", ${JSON.stringify({ request: wanted, window: 65_536, holder: "one", owner: "test", slots: 1, leaseMs: null, decision })});
      await call.read();
      process.kill(process.pid, "SIGKILL");`;
    const front = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: "ignore" });
    expect((await once(front, "exit"))[1]).toBe("SIGKILL");
    const runner = await testRunner(folder, { keeper: await keeper() });
    expect(runner.info().busy).toBe(1);
    await until(
      () => listJobs(runner),
      ([job]) => job?.attached === false,
    );
    expect(await listJobs(runner)).toMatchObject([{ attemptId: wanted.attemptId, running: true, attached: false }]);
    const call = await attach(runner, wanted);
    writeFileSync(join(folder, "go"), "");
    expect(await finish(call)).toMatchObject({ stdout: "before\nafter\n", exit: { reason: "exited", code: 0 } });
  });

  it("goes on with a driven job and its commands when its front is killed, and takes more by the next front", async () => {
    await keeper();
    const job = drivenRequest();
    const wanted = within(job, "echo before; while ! [ -e go ]; do sleep 0.02; done; echo after");
    const given = { window: 65_536, holder: "one", owner: "test", slots: 1, leaseMs: null, decision };
    const code = `
      import { keeperProcess } from ${sourceUrl("runner/keeper/keeper-link.ts")};
      import { callRaw } from ${sourceUrl("protocol/make-call.ts")};
      const link = await keeperProcess(${JSON.stringify(keepers)});
      const run = async (request) => callRaw(await link.open(), "/keeper/run", { request, ...${JSON.stringify(given)} });
      const job = await run(${JSON.stringify(job)});
      for (let said = ""; !said.includes('"ready"'); ) said += Buffer.from(await job.read());
      const command = await run(${JSON.stringify(wanted)});
      for (let said = ""; !said.includes("before"); ) said += Buffer.from(await command.read());
      process.kill(process.pid, "SIGKILL");`;
    const front = spawn(process.execPath, ["--input-type=module", "-e", code], { stdio: "ignore" });
    expect((await once(front, "exit"))[1]).toBe("SIGKILL");
    const runner = await testRunner(folder, { keeper: await keeper() });
    expect(runner.info().busy).toBe(1);
    const call = await attach(runner, job);
    const other = within(job, "touch go; echo other");
    expect((await finish(await startJob(runner, other))).stdout).toBe("other\n");
    expect(await finish(await attach(runner, wanted))).toMatchObject({ stdout: "before\nafter\n", exit: { code: 0 } });
    await call.write(encodeControl({ type: "finish", code: 3 }));
    expect((await finish(call)).exit).toMatchObject({ reason: "exited", code: 3 });
  });

  it("is one, however many fronts ask for it at the same time", async () => {
    const links = [...(await Promise.all([1, 2, 3].map(() => keeperProcess(keepers)))), await keeper()];
    const pids = await Promise.all(links.map(async (link) => (await infoOf(link)).pid));
    expect(new Set(pids).size).toBe(1);
    const runners: Runner[] = [];
    for (const link of links.slice(0, 2)) runners.push(await testRunner(folder, { keeper: link, slots: 40 }));
    const texts = await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        const runner = runners[index % 2];
        return runner && (await finish(await startJob(runner, request(`echo ${index}`)))).stdout;
      }),
    );
    expect(texts).toEqual(Array.from({ length: 30 }, (_, index) => `${index}\n`));
    for (const runner of runners)
      expect(
        await until(
          () => runner.info().busy,
          (busy) => busy === 0,
        ),
      ).toBe(0);
  });

  it("takes a thousand calls at once, and keeps no descriptor of them", async () => {
    const link = await keeper();
    const { pid } = await infoOf(link);
    const open = (of: number | "self"): number => readdirSync(`/proc/${of}/fd`).length;
    const before = [open(pid), open("self")];
    const infos = await Promise.all(Array.from({ length: 1_000 }, () => infoOf(link)));
    expect(infos.every((info) => info.pid === pid)).toBe(true);
    for (const [index, of] of ([pid, "self"] as const).entries())
      expect(
        await until(
          () => open(of),
          (count) => count <= (before[index] ?? 0) + 2,
        ),
      ).toBeLessThanOrEqual((before[index] ?? 0) + 2);
  });

  it("keeps no descriptor of jobs, readers and news that are over", async () => {
    const link = await keeper();
    const runner = await testRunner(folder, { keeper: link });
    const { pid } = await infoOf(link);
    const files = (): string[] => openFilesOf(pid);
    const journalsOpen = (): Promise<string[]> =>
      until(
        () => files().filter((name) => name.includes(".chunks")),
        (names) => names.length === 0,
      );
    await finish(await startJob(runner, request("echo warm")));
    await journalsOpen();
    const before = files().length;
    for (let round = 0; round < 20; round++) {
      const wanted = request("echo x; cat", { stdin: true });
      const call = await startJob(runner, wanted);
      const reading = await attach(runner, wanted, { control: false });
      const lost = await attach(runner, wanted, { control: false });
      lost.abort(new Error("gone"));
      await call.write(encodeControl({ type: "eof" }));
      await Promise.all([finish(call), finish(reading)]);
    }
    expect(
      await until(
        () => files().length,
        (count) => count <= before,
      ),
    ).toBeLessThanOrEqual(before);
    expect(await journalsOpen()).toEqual([]);
  });

  it("leaves by itself when there is neither a front nor a job, and not before", async () => {
    const program = leavesAfter(300);
    const link = await keeperSoon(keepers, program);
    // One that a slow machine let leave before this front was there is followed by another.
    const runner = await testRunner(folder, { keeper: { ...link, close: async () => {} } });
    const { pid } = await infoOf(link);
    const wanted = request("sleep 1; echo x", { leaseMs: null });
    const call = await startJob(runner, wanted);
    // A front is there, and nothing runs.
    await finish(await startJob(runner, request("sleep 0.6")));
    expect(isRunning(pid)).toBe(true);
    call.abort(new Error("gone"));
    expect(
      await until(
        () => listJobs(runner),
        ([, job]) => job?.running === false,
      ),
    ).toMatchObject([{ running: false }, { running: false }]);
    // As a front that is killed: its news end, and nobody says goodbye.
    const alone = await keeperSoon(join(folder, "other"), program);
    const { pid: left } = await infoSoon(alone);
    expect(await isGone(left)).toBe(true);
    expect(readdirSync(join(folder, "other")).sort()).toEqual(["journals", "keeper.log", "owner", "work"]);
    // It comes again when it is wanted.
    const again = await infoSoon(alone);
    expect(again.pid).not.toBe(left);
    await alone.close();
    await link.close();
    for (const one of [again.pid, pid]) expect(await isGone(one)).toBe(true);
    expect(processesOf(folder)).toEqual([]);
  });

  it("loses driven jobs with their commands when it is killed, and ends whatever those left", async () => {
    const link = await keeper();
    const runner = await testRunner(folder, { keeper: link });
    const job = await drive(runner);
    // The one that clears its environment is found by its group, and the one that leaves its group by its environment.
    const hidden = job.command("env -i sleep 4913 >/dev/null 2>&1 & exec env -i sleep 4914");
    const daemon = job.command("setsid sleep 4915 & echo up; wait");
    const calls = [await startJob(runner, hidden), await startJob(runner, daemon)];
    const marks = ["4913", "4914", "4915"];
    const left = (): number => marks.flatMap((seconds) => processesOf(`sleep\0${seconds}`)).length;
    expect(await until(left, (count) => count === 3)).toBe(3);
    process.kill((await infoOf(link)).pid, "SIGKILL");
    await Promise.allSettled([job.end, ...calls.map(endOf)]);
    for (const wanted of [job.wanted, hidden, daemon])
      expect((await finish(await attachSoon(runner, wanted))).exit).toMatchObject({ reason: "lost", code: null });
    expect(left()).toBe(0);
    expect(readdirSync(join(keepers, "work"))).toEqual([]);
    expect(await codeOf(startJob(runner, job.command("true")))).toBe("NOT_FOUND");
    // Those that began within one millisecond come in any order.
    expect((await listJobs(runner)).map(({ within: of }) => of).sort()).toEqual([
      job.wanted.attemptId,
      job.wanted.attemptId,
      undefined,
    ]);
  });

  it("starts anew after it was killed, ends what it left as lost, and its front serves on", async () => {
    const link = await keeper();
    const runner = await testRunner(folder, { keeper: link });
    const over = request("echo done");
    await finish(await startJob(runner, over));
    await until(
      () => listJobs(runner),
      ([job]) => job?.acknowledged === true,
    );
    const wanted = request("echo before; setsid sleep 4911 & exec sleep 4912");
    const call = await startJob(runner, wanted);
    const said = await untilSaid(call, "before\n");
    await until(
      () => ["4911", "4912"].flatMap((seconds) => processesOf(`sleep\0${seconds}`)).length,
      (count) => count === 2,
    );
    const { pid } = await infoOf(link);
    process.kill(pid, "SIGKILL");
    // It could not say goodbye: what ends without an exit was lost.
    await endOf(call);
    const { exit, stdout } = await finish(await attachSoon(runner, wanted));
    expect(stdout).toBe("before\n");
    expect(exit).toMatchObject({ reason: "lost", code: null, bytes: { stdout: 7, stderr: 0 } });
    expect(exit.hash?.stdout).toMatch(/^[0-9a-f]{64}$/);
    for (const seconds of ["4911", "4912"]) expect(processesOf(`sleep\0${seconds}`)).toEqual([]);
    expect(readdirSync(join(keepers, "work"))).toEqual([]);
    expect((await infoOf(link)).pid).not.toBe(pid);
    expect(
      await until(
        () => runner.info().busy,
        (busy) => busy === 0,
      ),
    ).toBe(0);
    expect(await listJobs(runner)).toMatchObject([{ end: expect.any(Number) }, { acknowledged: true }]);
    expect((await listJobs(runner))[0]?.end).toBeGreaterThan(said);
    expect((await finish(await startJob(runner, request("echo again")))).stdout).toBe("again\n");
  });

  it("may be killed at any moment while jobs begin: what it took ends once, and nothing of it runs", async () => {
    const link = await keeper();
    const runner = await testRunner(folder, { keeper: link, slots: 100 });
    const taken: JobRequest[] = [];
    const unsure: JobRequest[] = [];
    for (let round = 0; round < 6; round++) {
      const { pid } = await infoSoon(link);
      const starts = Array.from({ length: 6 }, async () => {
        const wanted = request("echo up; setsid sleep 4921 & exec sleep 4921");
        await startJob(runner, wanted).then(
          () => taken.push(wanted),
          () => unsure.push(wanted),
        );
      });
      // In the last one it has taken them all.
      await (round === 5 ? Promise.all(starts) : new Promise((resolve) => setTimeout(resolve, round * 8)));
      process.kill(pid, "SIGKILL");
      await Promise.all(starts);
    }
    for (const wanted of taken) {
      const { exit, controls } = await finish(await attachSoon(runner, wanted));
      expect(exit.reason).toBe("lost");
      expect(controls.filter(({ type }) => type === "exit").length).toBe(1);
    }
    const known = new Set((await listJobs(runner)).map((job) => job.attemptId));
    for (const wanted of unsure) {
      if (known.has(wanted.attemptId)) expect((await finish(await attach(runner, wanted))).exit.reason).toBe("lost");
      else expect(await codeOf(attach(runner, wanted))).toBe("NOT_FOUND");
    }
    expect(taken.length).toBeGreaterThan(0);
    expect(
      await until(
        () => processesOf("sleep\x004921"),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
    expect(readdirSync(join(keepers, "work"))).toEqual([]);
  });

  it("that is just leaving is followed by another one, however closely a front comes behind it", async () => {
    await keeper();
    for (let round = 0; round < 5; round++) {
      const link = await keeperProcess(keepers);
      await link.close();
      const next = await keeperProcess(keepers);
      const runner = await createRunner({
        ...{ name: "w1", labels: {}, slots: 1, admission: admitAll, leaseMs: null },
        ...{ journals: defaultJournalLimits, keeper: next },
      });
      expect((await finish(await startJob(runner, request("echo x")))).stdout).toBe("x\n");
      await runner.close();
    }
  });

  it("works in a folder whose path is longer than a socket's may be", async () => {
    keepers = join(folder, "x".repeat(100), "y".repeat(100), "keeper");
    mkdirSync(join(keepers, ".."), { recursive: true });
    const runner = await testRunner(folder, { keeper: await keeper() });
    expect((await finish(await startJob(runner, request("echo x")))).stdout).toBe("x\n");
  });

  it("that cannot start is told with where its own words are", async () => {
    const program = join(folder, "broken.ts");
    writeFileSync(program, 'throw new Error("no keeper today");');
    const error = await keeperProcess(keepers, { program }).then(
      () => undefined,
      (reason: Error & { code: string; hint: string }) => reason,
    );
    expect(error).toMatchObject({ code: "KEEPER_FAILED", hint: expect.stringContaining("keeper.log") });
    expect(readFileSync(join(keepers, "keeper.log"), "utf8")).toContain("no keeper today");
  });

  it("takes the place of whatever is left over where its socket belongs", async () => {
    mkdirSync(keepers, { mode: 0o700 });
    writeFileSync(join(keepers, "keeper.sock"), "");
    const runner = await testRunner(folder, { keeper: await keeper() });
    expect((await finish(await startJob(runner, request("echo x")))).stdout).toBe("x\n");
  });
});

describe("a keeper of another version", () => {
  /** Answers as one would that speaks another protocol. */
  async function other(running: number): Promise<{ readonly left: () => boolean }> {
    mkdirSync(keepers, { mode: 0o700 });
    let gone = false;
    const server = createServer((socket) => {
      void serveCall(
        socketChannel(socket),
        {
          "/keeper/info": async () => ({ protocol: KEEPER_PROTOCOL + 1, version: "9.9.9", pid: process.pid, running }),
          async "/keeper/leave"() {
            if (running > 0) throw new Error("it has jobs");
            gone = true;
            server.close();
            return {};
          },
        },
        { peer: "front", name: "the front" },
      );
    });
    await new Promise<void>((resolve) => server.listen(socketPath(keepers), resolve));
    onTestFinished(() => void server.close());
    return { left: () => gone };
  }

  it("that has jobs is left alone, and the front told whose they are", async () => {
    const { left } = await other(3);
    const error = await keeperProcess(keepers).then(
      () => undefined,
      (reason: Error & { code: string; hint: string }) => reason,
    );
    expect(error).toMatchObject({ code: "KEEPER_VERSION", hint: expect.stringContaining("runner drain") });
    expect(error?.message).toMatch(/9\.9\.9 .*3 jobs/);
    expect(left()).toBe(false);
  });

  it("that has none leaves, and one of this version takes its place", async () => {
    const { left } = await other(0);
    const link = await keeper();
    expect(left()).toBe(true);
    const { protocol, pid } = await infoOf(link);
    expect(protocol).toBe(KEEPER_PROTOCOL);
    expect(pid).not.toBe(process.pid);
    const runner = await testRunner(folder, { keeper: link });
    expect((await finish(await startJob(runner, request("echo x")))).stdout).toBe("x\n");
  });
});

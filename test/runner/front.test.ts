import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { encodeControl } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson, callRaw, subscribe } from "../../protocol/make-call.ts";
import { admitAll } from "../../runner/admission.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner, type RunnerOptions } from "../../runner/runner.ts";
import { until } from "../rig/rig.ts";
import { attach, codeOf, dial, endOf, finish, jobFolder, listJobs, request, startJob, testRunner } from "./calls.ts";

const gone = new Error("gone");
const endless = () => request("exec sleep 4901", { graceMs: 0 });

let folder: string;
let keeper: KeeperLink;
beforeEach(async () => {
  folder = jobFolder();
  keeper = await embeddedKeeper(folder);
});

/** A front on a keeper that outlives it, as under `runner start`. */
const front = (options: Partial<RunnerOptions> = {}): Promise<Runner> =>
  createRunner({
    name: "w1",
    labels: {},
    slots: 2,
    admission: admitAll,
    leaseMs: 60_000,
    journals: defaultJournalLimits,
    keeper: { ...keeper, close: async () => {} },
    ...options,
  });

/** Its keeper's news may come to a front behind the exit. */
const busyIs = (wanted: number, runner: Runner): Promise<number> =>
  until(
    () => runner.info().busy,
    (busy) => busy === wanted,
  );

/** Whether the promise is still pending after what is under way has had its turn. */
const pends = (promise: Promise<unknown>): Promise<boolean> =>
  Promise.race([promise.then(() => false), new Promise<boolean>((resolve) => setTimeout(resolve, 50, true))]);

describe("a front and its keeper", () => {
  it("count the slots that are taken from before the front was there", async () => {
    const before = await front();
    const jobs = [endless(), endless()];
    const calls = [];
    for (const job of jobs) calls.push(await startJob(before, job));
    await before.close();
    for (const call of calls) expect(await endOf(call)).toBe("CONNECTION_LOST");
    const after = await testRunner(folder, { keeper });
    expect(after.info().busy).toBe(2);
    expect(await codeOf(startJob(after, request("true")))).toBe("RUNNER_FULL");
    const call = await attach(after, jobs[0] as never);
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    await finish(call);
    expect(await busyIs(1, after)).toBe(1);
    expect((await finish(await startJob(after, request("echo x")))).stdout).toBe("x\n");
  });

  it("give a refused attempt its second chance: only one that was taken is used up", async () => {
    const runner = await testRunner(folder, { keeper, slots: 1 });
    const first = await startJob(runner, endless());
    const wanted = request("echo x");
    expect(await codeOf(startJob(runner, wanted))).toBe("RUNNER_FULL");
    await first.write(encodeControl({ type: "cancel", by: "user" }));
    await finish(first);
    expect((await finish(await startJob(runner, wanted))).stdout).toBe("x\n");
    expect(await codeOf(startJob(runner, wanted))).toBe("DUPLICATE");
  });

  it("tell watchers of each slot that is taken and freed", async () => {
    const runner = await testRunner(folder, { keeper });
    const seen: number[] = [];
    const watching = (async () => {
      for await (const { busy } of subscribe(dial(runner, "watcher"), "/runner/watch", {})) {
        if (busy !== seen.at(-1)) seen.push(busy);
        if (seen.length === 3) return;
      }
    })();
    await finish(await startJob(runner, request("sleep 0.1")));
    await watching;
    expect(seen).toEqual([0, 1, 0]);
  });

  it("serve more than one front at once, each its own callers", async () => {
    const one = await testRunner(folder, { keeper });
    const two = await front();
    const wanted = request("sleep 0.2; echo x");
    const call = await startJob(one, wanted);
    const reading = finish(await attach(two, wanted, { control: false }));
    expect((await finish(call)).stdout).toBe("x\n");
    expect((await reading).stdout).toBe("x\n");
    expect(await busyIs(0, two)).toBe(0);
    await two.close();
    expect((await finish(await startJob(one, request("echo y")))).stdout).toBe("y\n");
  });
});

describe("draining", () => {
  it("takes no new jobs, serves those that run to the end, and is idle when their owners know", async () => {
    const runner = await testRunner(folder, { keeper });
    const go = join(folder, "go");
    const wanted = request(`until [ -e ${go} ]; do sleep 0.02; done; echo x`);
    const call = await startJob(runner, wanted);
    runner.drain();
    expect(runner.info().draining).toBe(true);
    expect(await codeOf(startJob(runner, request("true")))).toBe("RUNNER_DRAINING");
    // A connection that is lost meanwhile is found again.
    call.abort(gone);
    const again = await attach(runner, wanted);
    expect(await pends(runner.idle)).toBe(true);
    writeFileSync(go, "");
    expect((await finish(again)).stdout).toBe("x\n");
    await runner.idle;
  });

  it("is idle at once where nothing runs, and waits for a job whose owner is away", async () => {
    const idle = await front();
    idle.drain();
    await idle.idle;
    await idle.close();
    const runner = await testRunner(folder, { keeper });
    const go = join(folder, "go");
    const wanted = request(`until [ -e ${go} ]; do sleep 0.02; done`);
    (await startJob(runner, wanted)).abort(gone);
    runner.drain();
    expect(await pends(runner.idle)).toBe(true);
    writeFileSync(go, "");
    await runner.idle;
    expect(await listJobs(runner)).toMatchObject([{ running: false, acknowledged: false }]);
  });

  it("does not wait for those who only read", async () => {
    const runner = await testRunner(folder, { keeper });
    const wanted = request("echo x");
    const call = await startJob(runner, wanted);
    const stalled = await attach(runner, wanted, { control: false });
    await finish(call);
    runner.drain();
    await runner.idle;
    stalled.abort(gone);
  });

  it("is idle also after a job that could not be handed to the keeper", async () => {
    let broken = false;
    const open: KeeperLink["open"] = async () => {
      if (broken) throw new SortieError("KEEPER_FAILED", "It does not answer.");
      return keeper.open();
    };
    const runner = await testRunner(folder, { keeper: { ...keeper, open } });
    broken = true;
    expect(await codeOf(startJob(runner, request("true")))).toBe("KEEPER_FAILED");
    runner.drain();
    expect(await pends(runner.idle)).toBe(false);
  });

  it("cancels what runs where it is told to, and the owners that listen know", async () => {
    const runner = await testRunner(folder, { keeper });
    const call = await startJob(runner, endless());
    const finished = finish(call);
    await runner.cancelAll();
    expect((await finished).exit).toMatchObject({ reason: "cancelled", by: "runner" });
    await runner.idle;
  });
});

describe("a runner for one job", () => {
  it("takes one, refuses the next, and is idle when that is done and told", async () => {
    const runner = await testRunner(folder, { keeper, once: true });
    expect(await pends(runner.idle)).toBe(true);
    const call = await startJob(runner, request("sleep 0.1; echo x"));
    expect(await codeOf(startJob(runner, request("true")))).toBe("RUNNER_DRAINING");
    expect(await pends(runner.idle)).toBe(true);
    expect((await finish(call)).stdout).toBe("x\n");
    await runner.idle;
  });

  it("does not wait for who is asked about a job: that is refused", async () => {
    const runner = await testRunner(folder, { keeper, admission: { admit: () => new Promise(() => {}) } });
    const asked = startJob(runner, request("true"));
    expect(await pends(asked)).toBe(true);
    runner.drain();
    expect(await codeOf(asked)).toBe("RUNNER_DRAINING");
    await runner.idle;
  });

  it("is not done by a job that it refused", async () => {
    const over = request("true");
    const before = await front();
    await finish(await startJob(before, over));
    await before.close();
    const runner = await testRunner(folder, { keeper, once: true });
    expect(await codeOf(startJob(runner, over))).toBe("DUPLICATE");
    expect(
      await codeOf(startJob(runner, request("true", { stdin: true, steps: [{ shell: "" }, { shell: "" }] }))),
    ).toBe("USAGE");
    expect(await pends(runner.idle)).toBe(true);
    expect((await finish(await startJob(runner, request("echo x")))).stdout).toBe("x\n");
    await runner.idle;
  });
});

describe("a peer that is no longer trusted", () => {
  it("loses its jobs, and nobody else does", async () => {
    const runner = await testRunner(folder, { keeper });
    const [bad, good] = [endless(), request("sleep 0.3; echo fine")];
    const call = await startJob(runner, bad, { peer: "bad" });
    const other = await startJob(runner, good, { peer: "good" });
    const finished = finish(call);
    await runner.revoke("bad");
    expect((await finished).exit).toMatchObject({ reason: "cancelled", by: "runner" });
    expect((await finish(other)).stdout).toBe("fine\n");
  });

  it("loses also the job that was on its way in", async () => {
    const runner: Runner = await testRunner(folder, {
      keeper,
      admission: {
        async admit(asked, caller, left) {
          if (caller.peer === "bad") await runner.revoke("bad");
          return admitAll.admit(asked, caller, left);
        },
      },
    });
    const call = await startJob(runner, endless(), { peer: "bad" });
    expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", by: "runner" });
    expect((await finish(await startJob(runner, request("echo fine"), { peer: "good" }))).stdout).toBe("fine\n");
  });
});

describe("a caller that leaves while somebody is asked about its job", () => {
  it("has nothing started, also where that is allowed afterwards", async () => {
    const asked = Promise.withResolvers<void>();
    const allowed = Promise.withResolvers<void>();
    const runner = await testRunner(folder, {
      keeper,
      admission: {
        async admit(...all) {
          asked.resolve();
          await allowed.promise;
          return admitAll.admit(...all);
        },
      },
    });
    const wanted = endless();
    const channel = dial(runner, "me");
    const call = callRaw(channel, "/job/run", { request: wanted, window: limits.windowMinimum, holder: "one" });
    await asked.promise;
    channel.abort(new Error("gone"));
    await expect(call).rejects.toThrow();
    allowed.resolve();
    expect((await finish(await startJob(runner, request("echo fine")))).stdout).toBe("fine\n");
    expect(await codeOf(attach(runner, wanted, { peer: "me" }))).toBe("NOT_FOUND");
  });
});

describe("a keeper that is asked to leave", () => {
  it("stays where jobs run, and takes none once it has said yes", async () => {
    const runner = await front();
    const call = await startJob(runner, endless());
    expect(await codeOf(callJson(await keeper.open(), "/keeper/leave", {}))).toBe("KEEPER_VERSION");
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    await finish(call);
    await busyIs(0, runner);
    await callJson(await keeper.open(), "/keeper/leave", {});
    expect(await codeOf(startJob(runner, request("true")))).toBe("RUNNER_DRAINING");
    await runner.close();
    await keeper.close();
  });
});

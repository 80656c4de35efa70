import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import type { Runner } from "../../runner/runner.ts";
import { until } from "../rig/rig.ts";
import { attach, finish, jobFolder, listJobs, request, startJob, testRunner, untilSaid } from "./calls.ts";

const gone = new Error("gone");
const leaseMs = limits.leaseMinimumMs;
const isOver = (runner: Runner) =>
  until(
    async () => (await listJobs(runner)).every((job) => !job.running),
    (over) => over,
  );

let folder: string;
beforeEach(() => {
  folder = jobFolder();
});

describe("a job's lease", () => {
  it("ends the job when its owner stays away, and its journal stays readable", async () => {
    const runner = await testRunner(folder);
    const wanted = request("echo before; exec sleep 4891", { leaseMs });
    const call = await startJob(runner, wanted);
    const offset = await untilSaid(call, "before\n", { acknowledge: true });
    const lostAt = performance.now();
    call.abort(gone);
    expect(await isOver(runner)).toBe(true);
    expect(performance.now() - lostAt).toBeGreaterThan(leaseMs - 50);
    const read = await finish(await attach(runner, wanted, { control: false, holder: "" }));
    expect(read).toMatchObject({ stdout: "before\n", exit: { reason: "lease", code: null, signal: "TERM" } });
    expect((await finish(await attach(runner, wanted, { offset }), offset)).exit.reason).toBe("lease");
  });

  it("does not run while the owner is there, and begins anew with each loss", async () => {
    const runner = await testRunner(folder);
    const wanted = request("sleep 2.5; echo end", { leaseMs });
    let call = await startJob(runner, wanted);
    for (let cuts = 0; cuts < 8; cuts++) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      call.abort(gone);
      call = (await attach(runner, wanted)) as typeof call;
    }
    // Longer than the lease, and attached.
    expect(await finish(call)).toMatchObject({ stdout: "end\n", exit: { reason: "exited", code: 0 } });
  });

  it("is not kept up by readers: they come and go as they like", async () => {
    const runner = await testRunner(folder);
    const wanted = request("exec sleep 4892", { leaseMs });
    const owner = await startJob(runner, wanted);
    const reading = finish(await attach(runner, wanted, { control: false, holder: "" }));
    owner.abort(gone);
    expect((await reading).exit.reason).toBe("lease");
  });

  it("is the runner's where the job has none of its own, and the job's own where it has one", async () => {
    const runner = await testRunner(folder, { leaseMs });
    const leased = request("exec sleep 4893");
    const detached = request("sleep 1.5; echo end", { leaseMs: null });
    for (const wanted of [leased, detached]) (await startJob(runner, wanted)).abort(gone);
    expect(await isOver(runner)).toBe(true);
    expect((await finish(await attach(runner, leased))).exit.reason).toBe("lease");
    expect(await finish(await attach(runner, detached))).toMatchObject({ stdout: "end\n", exit: { reason: "exited" } });
  });

  it("does not outlive the job: one that ended without its owner ended by itself", async () => {
    const longer = 2 * leaseMs;
    const runner = await testRunner(folder, { leaseMs: longer });
    const go = join(folder, "go");
    const wanted = request(`echo x; until [ -e ${go} ]; do sleep 0.02; done; exit 4`);
    const call = await startJob(runner, wanted);
    await untilSaid(call, "x\n");
    writeFileSync(go, "");
    call.abort(gone);
    await isOver(runner);
    await new Promise((resolve) => setTimeout(resolve, longer + 100));
    const { controls } = await finish(await attach(runner, wanted));
    expect(controls.filter(({ type }) => type === "exit")).toMatchObject([{ reason: "exited", code: 4 }]);
  });
});

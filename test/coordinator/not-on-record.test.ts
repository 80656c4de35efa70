// A runner that cannot put on record that a job is allowed starts none: a run waits for it, and says why, as for one that is
// away. And one that has on record what it never ran is asked for that attempt no longer than it takes to see it.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import type { RunEvent } from "../../coordinator/events.ts";
import { execute } from "../../coordinator/execute.ts";
import type { KnownRunner } from "../../coordinator/fleet.ts";
import { Places } from "../../coordinator/places.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { openStore } from "../../coordinator/store/store.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { SortieError } from "../../protocol/errors.ts";
import { type JobName, newRunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { openAudit } from "../../runner/keeper/audit/writer.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { simulatedRunner } from "../rig/simulated-fleet.ts";
import { dial, jobFolder, request, testRunner } from "../runner/calls.ts";

/** A runner with an audit in the folder, as a coordinator knows it; the first channels to it are those of `before`. */
async function auditedRunner(folder: string, before: (() => ByteChannel)[] = []): Promise<KnownRunner> {
  const keeper = await embeddedKeeper(join(folder, "keeper"), undefined, join(folder, "audit"));
  const front = await testRunner(folder, { keeper });
  const open = async (): Promise<ByteChannel> => before.shift()?.() ?? dial(front);
  return { id: "w1", name: "w1", info: front.info(), roundTripMs: 0, open };
}

const anywhere = { labels: {} };
const hello: PlanJob = {
  name: "hello" as JobName,
  needs: [],
  on: anywhere,
  steps: [{ argv: ["true"] }],
  env: [],
  graceMs: 0,
};

describe("an audit that cannot be written", () => {
  afterEach(() => void vi.useRealTimers());

  it("starts no job, and the run goes on once it can be", async () => {
    const folder = jobFolder();
    const audit = join(folder, "audit");
    // No folder can be made where a file is.
    writeFileSync(audit, "");
    const runner = await auditedRunner(folder);
    const home = mkdtempSync(join(tmpdir(), "sortie-record-"));
    const store = openStore(home);
    onTestFinished(() => {
      store.close();
      rmSync(home, { recursive: true, force: true });
    });
    const events: RunEvent[] = [];
    const outcome = await execute({
      run: newRunId(),
      plan: { recipe: "/recipe.ts", jobs: [hello], names: new Map(), source: "" },
      params: {},
      runners: [runner],
      folder: home,
      claims: store.claims,
      jobs: 1,
      failFast: false,
      cancelled: new AbortController().signal,
      emit(event) {
        events.push(event);
        if (event.type === "runner-unreachable") rmSync(audit);
      },
    });
    expect(outcome).toBe("passed");
    const told = events.filter(({ type }) => type === "runner-unreachable");
    expect(told).toMatchObject([{ runner: "w1", message: expect.stringContaining("audit cannot be written") }]);
    expect(events.filter(({ type }) => type === "job-started")).toHaveLength(1);
  });

  it("is waited for as long as a runner that is away, each time anew, and then the runner is given up", async () => {
    vi.useFakeTimers({ toFake: ["performance", "setTimeout", "clearTimeout"] });
    const did: string[] = [];
    const schedule = {
      pause: () => void did.push("pause"),
      resume: () => void did.push("resume"),
      lose: () => void did.push("lose"),
    };
    const runner = simulatedRunner("w1", 1);
    const places = new Places([runner], { schedule, emit: () => {}, changed: () => {} });
    const place = places.of(runner);
    const refused = () => places.refused(place, new SortieError("AUDIT_FAILED", "It cannot be written."));
    expect(await refused()).toBe(true);
    vi.advanceTimersByTime(limits.unreachableMs - 1);
    places.answered(place);
    await refused();
    vi.advanceTimersByTime(limits.unreachableMs - 1);
    await refused();
    expect(did).not.toContain("lose");
    vi.advanceTimersByTime(1);
    await refused();
    places.close();
    expect(did.at(-1)).toBe("lose");
    expect(places.goneFor(anywhere)).toMatchObject({ code: "AUDIT_FAILED" });
  });
});

it("an attempt that is on record, and whose keeper was killed before it ran, is lost and not looked for", async () => {
  const folder = jobFolder();
  const wanted: JobRequest = request("true");
  const { attemptId, run, job, attempt } = wanted;
  // What a keeper leaves that is killed while the disk takes its line.
  mkdirSync(join(folder, "keeper"));
  const audit = openAudit(join(folder, "audit"), () => {});
  const decision = { peer: "test", name: "test", wants: [], rule: "everything is allowed" };
  await audit.write([{ type: "job-allowed", ...decision, attemptId, run, job, attempt }]);
  await audit.close();
  const lost = (): ByteChannel => {
    const [ours, theirs] = memoryChannelPair();
    void theirs.read().then(() => theirs.abort(new SortieError("CONNECTION_LOST", "The front was killed.")));
    return ours;
  };
  const link = await auditedRunner(folder, [lost]);
  const sink = { store() {}, output() {} };
  const started = await startAttempt({ link, attemptId, request: wanted, reconnectMs: limits.leaseMs, sink });
  await expect(started.end).rejects.toMatchObject({
    code: "NOT_FOUND",
    message: expect.stringMatching(/took the attempt .*, and does not know it any more/),
  });
});

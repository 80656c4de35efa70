// What jobs wait for besides slots, through whole runs over simulated runners.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import type { RunEvent } from "../../coordinator/events.ts";
import { execute } from "../../coordinator/execute.ts";
import type { KnownRunner } from "../../coordinator/fleet.ts";
import type { Group } from "../../coordinator/group.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { groupOf } from "../../coordinator/recipe/concurrency.ts";
import { timeoutsOf } from "../../coordinator/recipe/timeout.ts";
import { noSecrets, openSecrets, type Secrets } from "../../coordinator/secrets.ts";
import { openStore } from "../../coordinator/store/store.ts";
import { SortieError } from "../../protocol/errors.ts";
import { type JobName, newRunId, type RunId } from "../../protocol/ids.ts";
import { simulatedRunner } from "../rig/simulated-fleet.ts";

const makeJob = (name: string, more: Partial<PlanJob> = {}): PlanJob => ({
  name: name as JobName,
  needs: [],
  on: { labels: {} },
  steps: [{ argv: ["true"] }],
  env: [],
  graceMs: 0,
  ...more,
});
const deploy: Group = { name: "deploy", limit: 1 };

async function executed(
  jobs: readonly PlanJob[],
  runners: readonly KnownRunner[],
  {
    atOnce = 100,
    folder,
    run = newRunId(),
    secrets = noSecrets(),
  }: { atOnce?: number; folder: string; run?: RunId; secrets?: Secrets },
  on: (event: RunEvent) => void = () => {},
): Promise<{ readonly outcome: string; readonly events: readonly RunEvent[] }> {
  const store = openStore(folder);
  const events: RunEvent[] = [];
  try {
    const outcome = await execute({
      run,
      plan: { recipe: "/recipe.ts", jobs, names: new Map(), source: "" },
      params: {},
      runners,
      folder,
      secrets,
      claims: store.claims,
      jobs: atOnce,
      failFast: false,
      cancelled: new AbortController().signal,
      emit(event) {
        events.push(event);
        on(event);
      },
    });
    return { outcome, events };
  } finally {
    store.close();
  }
}

async function withFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-waits-"));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

describe("a group", () => {
  it("of 600 jobs over 50 runners never has more than its limit, and all of them run", () =>
    withFolder(async (folder) => {
      const running = new Set<string>();
      let most = 0;
      const runners = Array.from({ length: 50 }, (_, index) => simulatedRunner(`w${index}`, 2));
      const jobs = Array.from({ length: 600 }, (_, index) => makeJob(`j${index}`, { group: { name: "db", limit: 7 } }));
      const { outcome, events } = await executed(jobs, runners, { folder }, (event) => {
        if (event.type === "job-started") running.add(event.job);
        if (event.type === "job-ended") running.delete(event.job);
        most = Math.max(most, running.size);
      });
      expect(outcome).toBe("passed");
      expect(most).toBe(7);
      expect(runners.flatMap(({ took }) => took).sort()).toEqual(jobs.map(({ name }) => name).sort());
      expect(events.filter(({ type }) => type === "job-waiting").length).toBe(600 - 7);
      const store = openStore(folder);
      // Nothing is left of them: the next one has its place at once.
      const run = newRunId();
      store.claims.ask(run, "next" as JobName, { name: "db", limit: 1 });
      expect(store.claims.take(run, "next" as JobName, { name: "db", limit: 1 })).toBe(true);
      store.close();
    }));

  it("is a line: who came later waits although there is room by its own limit", () =>
    withFolder(async (folder) => {
      const [one, other] = [openStore(folder), openStore(folder)];
      const [a, b, c] = [newRunId(), newRunId(), newRunId()];
      const job = "job" as JobName;
      one.claims.ask(a, job, deploy);
      other.claims.ask(b, job, deploy);
      other.claims.ask(c, job, { ...deploy, limit: 5 });
      expect(other.claims.take(c, job, { ...deploy, limit: 5 })).toBe(false);
      expect(other.claims.take(b, job, deploy)).toBe(false);
      expect(one.claims.take(a, job, deploy)).toBe(true);
      expect(other.claims.before(b, job, deploy)).toBe(`${a}/job`);
      expect(other.claims.take(b, job, deploy)).toBe(false);
      one.claims.giveUp(a, job);
      expect(other.claims.take(b, job, deploy)).toBe(true);
      expect(other.claims.take(c, job, { ...deploy, limit: 5 })).toBe(true);
      one.close();
      other.close();
    }));

  it("has as many of the older cancelled as a newer one needs, the oldest first, and those that wait", () =>
    withFolder(async (folder) => {
      const { claims, close } = openStore(folder);
      const two: Group = { name: "g", limit: 2 };
      const runs = [newRunId(), newRunId(), newRunId(), newRunId()];
      const job = "job" as JobName;
      for (const run of runs.slice(0, 3)) claims.ask(run, job, two);
      expect(runs.slice(0, 3).map((run) => claims.take(run, job, two))).toEqual([true, true, false]);
      claims.ask(runs[3] as RunId, job, { ...two, cancelsOlder: true });
      const by = `${runs[3]}/job`;
      expect(runs.map((run) => claims.cancelled(run))).toEqual([
        [{ job, group: "g", by }],
        [],
        [{ job, group: "g", by }],
        [],
      ]);
      expect(claims.take(runs[3] as RunId, job, two)).toBe(false);
      claims.giveUp(runs[0] as RunId, job);
      expect(claims.take(runs[2] as RunId, job, two)).toBe(false);
      expect(claims.take(runs[3] as RunId, job, two)).toBe(true);
      close();
    }));
});

describe("a queue timeout", () => {
  afterEach(() => void vi.useRealTimers());

  const ended = (events: readonly RunEvent[], name: string) =>
    events.find((event) => event.type === "job-ended" && event.job === name);

  it("also counts the time for which --jobs holds a job up", () =>
    withFolder(async (folder) => {
      const gate = Promise.withResolvers<void>();
      const runner = simulatedRunner("w", 4, {}, ({ job }) => (job === "long" ? { until: gate.promise } : {}));
      const jobs = [
        makeJob("long"),
        makeJob("late", { queueMs: 50 }),
        makeJob("after", { needs: ["late" as JobName] }),
      ];
      const { outcome, events } = await executed(jobs, [runner], { folder, atOnce: 1 }, (event) => {
        if (event.type === "job-ended" && event.job === "late") gate.resolve();
      });
      expect(outcome).toBe("lost");
      expect(ended(events, "late")).toMatchObject({
        outcome: "lost",
        message: expect.stringContaining("queue timeout"),
      });
      expect(ended(events, "after")).toMatchObject({ outcome: "skipped" });
      expect(runner.took).toEqual(["long"]);
    }));

  it("ends a job that a full runner sends back again and again, and not one that it takes", () =>
    withFolder(async (folder) => {
      // No time passes but what the test lets pass, however long the machine takes to ask the runner.
      vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
      const full = simulatedRunner("w", 0);
      const told = { ...full, info: { ...full.info, slots: 1 } };
      const sending = executed([makeJob("back", { queueMs: 30_000 })], [told], { folder });
      while (full.refused < 2) {
        vi.advanceTimersByTime(1);
        await new Promise((resolve) => setImmediate(resolve));
      }
      vi.advanceTimersByTime(30_000);
      const sent = await sending;
      expect(ended(sent.events, "back")).toMatchObject({
        outcome: "lost",
        message: expect.stringContaining("within 30 s"),
      });
      const gate = Promise.withResolvers<void>();
      const free = simulatedRunner("w", 1, {}, () => ({ until: gate.promise }));
      const taken = await executed([makeJob("long", { queueMs: 100 })], [free], { folder }, ({ type }) => {
        if (type !== "job-started") return;
        vi.advanceTimersByTime(300);
        gate.resolve();
      });
      expect(taken.outcome).toBe("passed");
    }));
});

describe("a job that a runner denies", () => {
  const denies = (name: string) =>
    simulatedRunner(name, 9, {}, () => {
      throw new SortieError("DENIED", `${name} was not told to.`, { hint: `Flag of ${name}.` });
    });
  const jobs = [makeJob("one"), makeJob("two", { on: { runner: "w1", labels: {} } })];

  it("goes to another that fits, and to none that it does not ask for", () =>
    withFolder(async (folder) => {
      const [first, second, third] = [denies("w1"), denies("w2"), simulatedRunner("w3", 1)];
      const { outcome, events } = await executed(jobs, [first, second, third], { folder });
      const ended = (name: string) => events.find((event) => event.type === "job-ended" && event.job === name);
      expect(outcome).toBe("lost");
      expect(ended("one")).toMatchObject({ outcome: "passed" });
      expect(ended("two")).toMatchObject({ outcome: "lost", message: "DENIED: w1 was not told to. Flag of w1." });
      expect(third.took).toEqual(["one"]);
      for (const { took } of [first, second]) expect(took.filter((name) => name === "one").length).toBe(1);
    }));

  it("goes to no other with its secrets", () =>
    withFolder(async (folder) => {
      const [first, second] = [denies("w1"), denies("w2")];
      const secret = { name: "PATH", from: "PATH", source: { env: "PATH" }, as: "env" } as const;
      const job = makeJob("one", { secrets: [secret] });
      const secrets = openSecrets(folder, process.env);
      await secrets.read([job]);
      const { outcome } = await executed([job], [first, second], { folder, secrets });
      expect(outcome).toBe("lost");
      expect([...first.took, ...second.took]).toEqual(["one"]);
    }));

  it("is lost where all do, and says what each said", () =>
    withFolder(async (folder) => {
      const { outcome, events } = await executed([makeJob("one")], [denies("w1"), denies("w2")], { folder });
      expect(outcome).toBe("lost");
      const { message } = events.find((event) => event.type === "job-ended") as { message?: string };
      for (const name of ["w1", "w2"])
        expect(message?.split(`${name} was not told to. Flag of ${name}.`)).toHaveLength(2);
    }));
});

describe("timeout and concurrency, as recipes write them", () => {
  const wrong = (message: string): Error => new Error(message);

  it("are checked where they are written", () => {
    expect(timeoutsOf("10m", false, wrong)).toEqual({ timeoutMs: 600_000 });
    expect(timeoutsOf({ job: "1h", step: 500, queue: "30s" }, false, wrong)).toEqual({
      timeoutMs: 3_600_000,
      stepTimeoutMs: 500,
      queueMs: 30_000,
    });
    expect(() => timeoutsOf({}, false, wrong)).toThrow("job, step or queue");
    expect(() => timeoutsOf({ step: 0 }, false, wrong)).toThrow("timeout's step must be at least a millisecond");
    expect(() => timeoutsOf({ queue: "soon" }, false, wrong)).toThrow("timeout's queue");
    expect(() => timeoutsOf({ steps: "1s" }, false, wrong)).toThrow("did you mean step?");
    expect(() => timeoutsOf({ step: "1s" }, true, wrong)).toThrow(".timeout()");
    expect(groupOf("deploy", wrong)).toEqual(deploy);
    expect(groupOf({ group: "a", limit: 3, when: "cancel-older" }, wrong)).toEqual({
      name: "a",
      limit: 3,
      cancelsOlder: true,
    });
    expect(() => groupOf("", wrong)).toThrow("group cannot be");
    expect(() => groupOf({ group: "a", limit: 0 }, wrong)).toThrow("limit must be a whole number");
    expect(() => groupOf({ group: "a", when: "never" }, wrong)).toThrow('"queue" or "cancel-older"');
    expect(() => groupOf(1, wrong)).toThrow("a group's name or an object");
  });
});

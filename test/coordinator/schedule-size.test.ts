// 10,000 jobs over 200 runners. Work is counted, not timed: what grows with the run shows on every machine.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { RunEvent } from "../../coordinator/events.ts";
import { execute } from "../../coordinator/execute.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { type Placement, Schedule } from "../../coordinator/schedule.ts";
import type { Selector } from "../../coordinator/selectors.ts";
import { openStore } from "../../coordinator/store/store.ts";
import { type JobName, newRunId } from "../../protocol/ids.ts";
import { type SimulatedRunner, simulatedRunner } from "../rig/simulated-fleet.ts";

const RUNNERS = 200;

const makeJob = (index: number, needs: number[], on: Partial<Selector> = {}): PlanJob => ({
  name: `j${index}` as JobName,
  needs: needs.map((need) => `j${need}` as JobName),
  on: { labels: {}, ...on },
  steps: [{ argv: ["true"] }],
  env: [],
  graceMs: 0,
});

/** Steps that placing took, a job, where each job ends when the fleet is full, the oldest first. */
function looksOf(count: number, make: (index: number) => PlanJob, slots = 2): number {
  const fleet = Array.from({ length: RUNNERS }, (_, index) => ({
    id: `w${index}`,
    name: `w${index}`,
    labels: { host: `w${index}`, zone: `z${index % 10}` },
    slots,
  }));
  const jobs = Array.from({ length: count }, (_, index) => make(index));
  const schedule = new Schedule({ recipe: "test", jobs }, fleet);
  const running: Placement[] = [];
  let placed = 0;
  for (;;) {
    const placements = schedule.place();
    placed += placements.length;
    running.push(...placements);
    const [next] = running.splice(0, 1);
    if (!next) break;
    schedule.settle(next.job.name, "passed");
  }
  expect(placed).toBe(count);
  return schedule.looks / count;
}

describe("placing costs about the height of its trees, whatever the number of jobs", () => {
  const kinds: [string, (index: number) => PlanJob][] = [
    ["that all ask for the same", (index) => makeJob(index, [])],
    ["in chains", (index) => makeJob(index, index >= 300 ? [index - 300] : [])],
    ["each of which waits for two others", (index) => makeJob(index, index < 500 ? [] : [index - 500, index - 400])],
    ["for ten zones", (index) => makeJob(index, [], { labels: { zone: `z${index % 10}` } })],
    [
      "every other one for a host of its own",
      (index) => makeJob(index, [], index % 2 ? {} : { labels: { host: `w${index % RUNNERS}` } }),
    ],
    ["by the names of runners", (index) => makeJob(index, [], { runner: `w${(index * 7) % RUNNERS}` })],
    [
      "no two of which ask for the same",
      (index) => makeJob(index, [], { labels: { zone: [`z${index % 10}`, `z${(index * 3) % 10}`, `none${index}`] } }),
    ],
    ["of a hundred priorities", (index) => ({ ...makeJob(index, []), priority: (index * 31) % 100 })],
    ["some of which take a whole runner", (index) => makeJob(index, [], index % 10 ? {} : { slots: 2 })],
  ];
  it.each(kinds)("of jobs %s", (_, make) => {
    const few = looksOf(1_000, make);
    const many = looksOf(10_000, make);
    // Of lines there may be ten times as many: their tree is then three or four nodes higher.
    expect(many).toBeLessThan(few * 1.8);
    expect(many).toBeLessThan(12 * Math.log2(RUNNERS) + 12 * Math.log2(10_000));
  });

  it("of jobs with two places", () => {
    const pair = (index: number): PlanJob => ({
      ...makeJob(index, []),
      ...(index % 20 ? {} : { also: [{ name: "p", on: { labels: { zone: "z1" } }, env: [] }] }),
    });
    expect(looksOf(10_000, pair)).toBeLessThan(looksOf(1_000, pair) * 1.6);
  });
});

interface Counted {
  readonly fleet: readonly SimulatedRunner[];
  readonly order: readonly string[];
  readonly outcome: string;
  readonly outcomes: ReadonlyMap<string, string>;
  /** Properties of jobs, elements of the plan, and properties of runners' infos that were read, a job. */
  readonly reads: { readonly jobs: number; readonly plan: number; readonly infos: number };
}

async function executed(jobs: readonly PlanJob[], fleet: readonly SimulatedRunner[]): Promise<Counted> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-size-"));
  const count = { jobs: 0, plan: 0, infos: 0 };
  const counted = <T extends object>(value: T, what: keyof typeof count): T =>
    new Proxy(value, {
      get(target, key) {
        count[what]++;
        return Reflect.get(target, key);
      },
    });
  const watched = counted(
    jobs.map((job) => counted(job, "jobs")),
    "plan",
  );
  const runners = fleet.map((runner) => ({ ...runner, info: counted(runner.info, "infos") }));
  const order: string[] = [];
  const outcomes = new Map<string, string>();
  const store = openStore(folder);
  try {
    const outcome = await execute({
      run: newRunId(),
      plan: { recipe: "/recipe.ts", jobs: watched, names: new Map(), source: "" },
      params: {},
      runners,
      folder,
      claims: store.claims,
      jobs: 2_000,
      failFast: false,
      cancelled: new AbortController().signal,
      emit(event: RunEvent) {
        if (event.type !== "job-ended") return;
        order.push(event.job);
        outcomes.set(event.job, event.outcome);
      },
    });
    const reads = {
      jobs: count.jobs / jobs.length,
      plan: count.plan / jobs.length,
      infos: count.infos / jobs.length,
    };
    return { fleet, order, outcome, outcomes, reads };
  } finally {
    store.close();
    rmSync(folder, { recursive: true, force: true });
  }
}

const fleetOf = (slots: number): SimulatedRunner[] =>
  Array.from({ length: RUNNERS }, (_, index) => simulatedRunner(`w${index}`, slots, { zone: `z${index % 10}` }));

// Nothing here waits for anything, so all of it takes many times as long where others have the processors.
describe("a run of 10,000 jobs over 200 runners", { timeout: 240_000 }, () => {
  it("gives each job to one runner once, in its turn, and never more to a runner than it has slots", async () => {
    const jobs = Array.from({ length: 10_000 }, (_, index) =>
      makeJob(index, index < 1_000 ? [] : [index - 1_000, index - 1 - (index % 100)], {
        ...(index % 3 ? {} : { labels: { zone: `z${index % 10}` } }),
      }),
    );
    const { fleet, order, outcome, outcomes } = await executed(jobs, fleetOf(2));
    expect(outcome).toBe("passed");
    expect(outcomes.size).toBe(10_000);
    const at = new Map(order.map((name, index) => [name, index]));
    for (const { name, needs } of jobs)
      for (const need of needs) expect(at.get(need)).toBeLessThan(at.get(name) as number);
    expect(fleet.flatMap(({ took }) => took).sort()).toEqual(jobs.map(({ name }) => name).sort());
    for (const runner of fleet) {
      expect(runner.most).toBeLessThanOrEqual(2);
      expect(runner.refused).toBe(0);
      expect(runner.took.length).toBeGreaterThan(0);
      for (const name of runner.took) {
        const zone = jobs[Number(name.slice(1))]?.on.labels["zone"];
        if (zone) expect(zone).toBe(runner.info.labels["zone"]);
      }
    }
  });

  it("reads as much of the plan and of the fleet for each job of 5,000 as of 500", async () => {
    const jobsOf = (count: number) =>
      Array.from({ length: count }, (_, index) => makeJob(index, index < 250 ? [] : [index - 250]));
    const few = await executed(jobsOf(500), fleetOf(2));
    const many = await executed(jobsOf(5_000), fleetOf(2));
    expect([few.outcome, many.outcome]).toEqual(["passed", "passed"]);
    expect(many.reads.jobs).toBeLessThan(few.reads.jobs * 1.1);
    expect(many.reads.plan).toBeLessThan(few.reads.plan * 1.1);
    expect(many.reads.plan).toBeLessThan(10);
    // The fleet is read when the run begins, and no more.
    expect(many.reads.infos).toBeLessThan(1);
  });

  it("goes on around runners that are full with somebody else's jobs, and asks each again in its own time", async () => {
    const fleet = Array.from({ length: RUNNERS }, (_, index) => simulatedRunner(`w${index}`, index % 4 === 0 ? 1 : 2));
    // One of four says that it has two slots, and has one: the other is somebody else's.
    const crowded = fleet.map((runner) => ({ ...runner, info: { ...runner.info, slots: 2 } }));
    const jobs = Array.from({ length: 2_000 }, (_, index) => makeJob(index, []));
    const { outcome, outcomes } = await executed(jobs, crowded);
    expect(outcome).toBe("passed");
    expect([...outcomes.values()].every((one) => one === "passed")).toBe(true);
    const refusals = fleet.reduce((sum, { refused }) => sum + refused, 0);
    expect(refusals).toBeGreaterThan(0);
    expect(refusals).toBeLessThan(jobs.length / 2);
    expect(fleet.flatMap(({ took }) => took).sort()).toEqual(jobs.map(({ name }) => name).sort());
  });
});

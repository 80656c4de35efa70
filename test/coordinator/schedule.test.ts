import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobOutcome } from "../../coordinator/events.ts";
import type { Plan, PlanJob } from "../../coordinator/plan.ts";
import { type RunnerState, Schedule } from "../../coordinator/schedule.ts";
import { fits } from "../../coordinator/selectors.ts";
import type { JobName } from "../../protocol/ids.ts";

const makeJob = (name: string, needs: string[] = [], labels: Record<string, string> = {}): PlanJob => ({
  name: name as JobName,
  needs: needs as JobName[],
  on: { labels },
  steps: [{ argv: ["true"] }],
  env: [],
  graceMs: 0,
});
const planOf = (jobs: PlanJob[]): Plan => ({ recipe: "test", jobs });
const runner = (id: string, free: number, labels: Record<string, string> = {}): RunnerState => ({
  id,
  name: id,
  labels,
  free,
});
const names = (placements: readonly { job: PlanJob }[]): string[] => placements.map(({ job }) => job.name);

describe("the schedule", () => {
  it("places what is ready, first come first served, where most slots are free", () => {
    const schedule = new Schedule(planOf([makeJob("a"), makeJob("b"), makeJob("c"), makeJob("d", ["a"])]));
    const placed = schedule.place([runner("small", 1), runner("large", 2)]);
    expect(placed.map(({ job, runner }) => `${job.name}@${runner}`)).toEqual(["a@large", "b@small", "c@large"]);
    expect(schedule.settle("a" as JobName, "passed")).toEqual([]);
    expect(names(schedule.place([runner("small", 5)]))).toEqual(["d"]);
  });

  it("skips all that needs a failed job, however far, and once", () => {
    const schedule = new Schedule(planOf([makeJob("a"), makeJob("b", ["a"]), makeJob("c", ["b", "a"]), makeJob("d")]));
    schedule.place([runner("w", 2)]);
    expect(
      schedule
        .settle("a" as JobName, "failed")
        .map(({ job, because }) => `${job.name} ${because}`)
        .sort(),
    ).toEqual(["b a", "c a"]);
    expect(schedule.settled).toBe(false);
    schedule.settle("d" as JobName, "passed");
    expect(schedule.settled).toBe(true);
  });

  it("goes on behind a failure that is allowed, and only behind a failure", () => {
    const placedAfter = (outcome: JobOutcome): string[] => {
      const schedule = new Schedule(planOf([{ ...makeJob("a"), allowFailure: true }, makeJob("b", ["a"])]));
      schedule.place([runner("w", 1)]);
      const skipped = schedule.settle("a" as JobName, outcome).map(({ job }) => `skipped ${job.name}`);
      return [...skipped, ...names(schedule.place([runner("w", 1)]))];
    };
    expect(placedAfter("failed")).toEqual(["b"]);
    expect(placedAfter("lost")).toEqual(["skipped b"]);
  });

  it("runs a job that runs always once all that it needs is over, skipped or not", () => {
    const always = { ...makeJob("z", ["a", "c"]), always: true as const };
    const schedule = new Schedule(planOf([makeJob("a"), makeJob("b", ["a"]), makeJob("c", ["b"]), always]));
    schedule.place([runner("w", 1)]);
    expect(schedule.settle("a" as JobName, "failed").map(({ job }) => job.name)).toEqual(["b", "c"]);
    expect(names(schedule.place([runner("w", 1)]))).toEqual(["z"]);
    expect(schedule.settled).toBe(false);
    schedule.settle("z" as JobName, "passed");
    expect(schedule.settled).toBe(true);
  });

  it("keeps only jobs that run always when it stops, each for what still runs, and not even those when all stop", () => {
    const make = () =>
      new Schedule(
        planOf([
          makeJob("a"),
          makeJob("b"),
          makeJob("c", ["a"]),
          { ...makeJob("y", ["c"]), always: true },
          { ...makeJob("z", ["a"]), always: true },
        ]),
      );
    const schedule = make();
    schedule.place([runner("w", 1)]);
    expect(schedule.stop().map(({ name }) => name)).toEqual(["b", "c"]);
    expect(names(schedule.place([runner("w", 9)]))).toEqual(["y"]);
    expect(schedule.settle("a" as JobName, "cancelled")).toEqual([]);
    expect(names(schedule.place([runner("w", 9)]))).toEqual(["z"]);
    const all = make();
    expect(all.stop(true).map(({ name }) => name)).toEqual(["a", "b", "c", "y", "z"]);
    expect(all.settled).toBe(true);
  });

  it("places higher priorities first, and among equals what waits longest", () => {
    const jobs = [makeJob("a"), { ...makeJob("b"), priority: 5 }, makeJob("c"), { ...makeJob("d"), priority: 5 }];
    const low = { ...makeJob("e"), priority: -1 };
    const schedule = new Schedule(planOf([low, ...jobs]));
    expect(names(schedule.place([runner("w", 9)]))).toEqual(["b", "d", "a", "c", "e"]);
  });

  it("gives a job all the slots that it takes, and keeps a runner free for it rather than let smaller ones by", () => {
    const big = { ...makeJob("big"), on: { labels: {}, slots: 3 } };
    const schedule = new Schedule(planOf([makeJob("first"), big, makeJob("a"), makeJob("b"), makeJob("c")]));
    const fleet = (...free: number[]): RunnerState[] =>
      free.map((one, index) => ({ ...runner(`w${index}`, one), slots: index === 0 ? 3 : 2 }));
    const placed = (...free: number[]) =>
      schedule.place(fleet(...free)).map(({ job, runner }) => `${job.name}@${runner}`);
    expect(placed(1, 0)).toEqual(["first@w0"]);
    expect(placed(2, 1)).toEqual(["a@w1"]);
    expect(placed(2, 0)).toEqual([]);
    expect(placed(3, 1)).toEqual(["big@w0", "b@w1"]);
    expect(placed(0, 1)).toEqual(["c@w1"]);
  });

  it("gives back what nobody can run, and what never started when it stops", () => {
    const schedule = new Schedule(planOf([makeJob("a", [], { gpu: "yes" }), makeJob("b"), makeJob("c", ["b"])]));
    expect(schedule.takeHopeless((on) => fits(on, runner("w", 1))).map((job) => job.name)).toEqual(["a"]);
    schedule.place([runner("w", 1)]);
    expect(schedule.stop().map((job) => job.name)).toEqual(["c"]);
    schedule.settle("b" as JobName, "cancelled");
    expect(schedule.settled).toBe(false);
    schedule.settle("a" as JobName, "lost");
    expect(schedule.settled).toBe(true);
  });

  it("never uses more than the free slots, never starts a job before its needs passed, and settles every job", () => {
    const graph = fc.array(
      fc.record({
        needs: fc.array(fc.nat(30), { maxLength: 3 }),
        label: fc.constantFrom("", "x", "y"),
        fate: fc.constantFrom<JobOutcome>("passed", "passed", "passed", "failed"),
      }),
      { minLength: 1, maxLength: 30 },
    );
    fc.assert(
      fc.property(
        graph,
        fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom("x", "y")), { minLength: 1, maxLength: 3 }),
        (nodes, fleet) => {
          const jobs = nodes.map(({ needs, label }, index) =>
            makeJob(
              `j${index}`,
              [...new Set(needs.filter((need) => need < index).map((need) => `j${need}`))],
              label === "" || !fleet.some(([, own]) => own === label) ? {} : { l: label },
            ),
          );
          const schedule = new Schedule(planOf(jobs));
          const free = new Map(fleet.map(([slots], index) => [`w${index}`, slots]));
          const outcomes = new Map<string, JobOutcome>();
          const running: { job: PlanJob; runner: string }[] = [];
          for (let turns = 0; !schedule.settled && turns < 1_000; turns++) {
            const states = fleet.map(([, label], index) =>
              runner(`w${index}`, free.get(`w${index}`) ?? 0, { l: label }),
            );
            for (const placement of schedule.place(states)) {
              expect(placement.job.needs.every((need) => outcomes.get(need) === "passed")).toBe(true);
              const left = (free.get(placement.runner) ?? 0) - 1;
              expect(left).toBeGreaterThanOrEqual(0);
              free.set(placement.runner, left);
              running.push(placement);
            }
            const next = running.shift();
            if (!next) break;
            free.set(next.runner, (free.get(next.runner) ?? 0) + 1);
            const fate = nodes[Number(next.job.name.slice(1))]?.fate ?? "passed";
            outcomes.set(next.job.name, fate);
            for (const { job } of schedule.settle(next.job.name, fate)) outcomes.set(job.name, "skipped");
          }
          expect(schedule.settled).toBe(true);
          expect(outcomes.size).toBe(jobs.length);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("places 10,000 jobs on 200 runners without looking at every job again each time", () => {
    const schedule = new Schedule(planOf(Array.from({ length: 10_000 }, (_, index) => makeJob(`j${index}`))));
    let looked = 0;
    const watched = new Proxy({}, { get: () => void looked++, ownKeys: () => [] });
    const fleet = Array.from({ length: 200 }, (_, index) => runner(`w${index}`, 1, watched as Record<string, string>));
    let placed = 0;
    while (!schedule.settled) {
      for (const { job } of schedule.place(fleet)) {
        placed++;
        schedule.settle(job.name, "passed");
      }
    }
    expect(placed).toBe(10_000);
    expect(looked).toBe(0);
  });
});

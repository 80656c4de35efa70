import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { JobOutcome } from "../../coordinator/events.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import type { Placement, Schedule } from "../../coordinator/schedule.ts";
import type { JobName } from "../../protocol/ids.ts";
import { runner, scheduleOf, settle, shown } from "./scheduling.ts";

const makeJob = (name: string, needs: string[] = [], labels: Record<string, string> = {}): PlanJob => ({
  name: name as JobName,
  needs: needs as JobName[],
  on: { labels },
  steps: [{ argv: ["true"] }],
  env: [],
  graceMs: 0,
});
const names = (jobs: readonly { job: PlanJob }[]): string[] => jobs.map(({ job }) => job.name);
const needing = (slots: number, job: PlanJob): PlanJob => ({ ...job, on: { ...job.on, slots } });

describe("the schedule", () => {
  it("places what is ready, first come first served, where most slots are free", () => {
    const jobs = [makeJob("a"), makeJob("b"), makeJob("c"), makeJob("d", ["a"])];
    const schedule = scheduleOf(jobs, runner("small", 1), runner("large", 2));
    expect(shown(schedule.place())).toEqual(["a@large", "b@small", "c@large"]);
    expect(schedule.place()).toEqual([]);
    expect(settle(schedule, "a")).toEqual([]);
    expect(shown(schedule.place())).toEqual(["d@large"]);
  });

  it("skips all that needs a failed job, however far, and once", () => {
    const jobs = [makeJob("a"), makeJob("b", ["a"]), makeJob("c", ["b", "a"]), makeJob("d")];
    const schedule = scheduleOf(jobs, runner("w", 2));
    schedule.place();
    expect(settle(schedule, "a", "failed").sort()).toEqual(["b a", "c a"]);
    expect(schedule.settled).toBe(false);
    settle(schedule, "d");
    expect(schedule.settled).toBe(true);
  });

  it("goes on behind a failure that is allowed, and only behind a failure", () => {
    const placedAfter = (outcome: JobOutcome): string[] => {
      const schedule = scheduleOf([{ ...makeJob("a"), allowFailure: true }, makeJob("b", ["a"])], runner("w", 1));
      schedule.place();
      return [...settle(schedule, "a", outcome).map((one) => `skipped ${one}`), ...names(schedule.place())];
    };
    expect(placedAfter("failed")).toEqual(["b"]);
    expect(placedAfter("lost")).toEqual(["skipped b a"]);
  });

  it("runs a job that runs always once all that it needs is over, skipped or not", () => {
    const always = { ...makeJob("z", ["a", "c"]), always: true as const };
    const schedule = scheduleOf([makeJob("a"), makeJob("b", ["a"]), makeJob("c", ["b"]), always], runner("w", 1));
    schedule.place();
    expect(settle(schedule, "a", "failed")).toEqual(["b a", "c a"]);
    expect(names(schedule.place())).toEqual(["z"]);
    expect(schedule.settled).toBe(false);
    settle(schedule, "z");
    expect(schedule.settled).toBe(true);
  });

  it("keeps only jobs that run always when it stops, each for what still runs, and not even those when all stop", () => {
    const make = () =>
      scheduleOf(
        [
          makeJob("a"),
          makeJob("b"),
          makeJob("c", ["a"]),
          { ...makeJob("y", ["c"]), always: true },
          { ...makeJob("z", ["a"]), always: true },
        ],
        runner("w", 1),
      );
    const schedule = make();
    schedule.place();
    expect(schedule.stop().map(({ name }) => name)).toEqual(["b", "c"]);
    schedule.release("a" as JobName);
    expect(names(schedule.place())).toEqual(["y"]);
    expect(settle(schedule, "y")).toEqual([]);
    expect(settle(schedule, "a", "cancelled")).toEqual([]);
    expect(names(schedule.place())).toEqual(["z"]);
    const all = make();
    expect(all.stop(true).map(({ name }) => name)).toEqual(["a", "b", "c", "y", "z"]);
    expect(all.place()).toEqual([]);
    expect(all.settled).toBe(true);
  });

  it("places higher priorities first, and among equals what waits longest", () => {
    const jobs = [makeJob("a"), { ...makeJob("b"), priority: 5 }, makeJob("c"), { ...makeJob("d"), priority: 5 }];
    const schedule = scheduleOf([{ ...makeJob("e"), priority: -1 }, ...jobs], runner("w", 9));
    expect(names(schedule.place())).toEqual(["b", "d", "a", "c", "e"]);
  });

  it("serves the line that waits longest, of all that a runner fits", () => {
    const jobs = [makeJob("a"), makeJob("b", [], { os: "linux" }), makeJob("c"), makeJob("d", [], { gpu: "1" })];
    const schedule = scheduleOf(jobs, runner("w", 1, { os: "linux" }), runner("g", 1, { gpu: "1" }));
    expect(shown(schedule.place())).toEqual(["a@w", "c@g"]);
    settle(schedule, "c");
    expect(shown(schedule.place())).toEqual(["d@g"]);
    settle(schedule, "a");
    expect(shown(schedule.place())).toEqual(["b@w"]);
  });

  it("puts a job that was taken before it was ready in no line until what it needs is over, and then once", () => {
    const schedule = scheduleOf([makeJob("giver"), makeJob("report", ["giver"])], runner("w", 2));
    schedule.take("report" as JobName, ["w"]);
    expect(names(schedule.place())).toEqual(["giver"]);
    expect(schedule.requeue("report" as JobName)).toEqual([]);
    expect(schedule.isReady("report" as JobName)).toBe(false);
    expect(names(schedule.place())).toEqual([]);
    expect(settle(schedule, "giver")).toEqual([]);
    expect(names(schedule.place())).toEqual(["report"]);
    schedule.release("report" as JobName);
    expect(names(schedule.place())).toEqual([]);
  });

  it("does not skip a job that was taken before it was ready, unless it is to begin again", () => {
    const jobs = [makeJob("giver"), makeJob("report", ["giver"]), makeJob("last", ["report"])];
    const taken = (): Schedule => {
      const schedule = scheduleOf(jobs, runner("w", 2));
      schedule.take("report" as JobName, ["w"]);
      schedule.place();
      expect(settle(schedule, "giver", "failed")).toEqual([]);
      return schedule;
    };
    const ran = taken();
    expect(settle(ran, "report")).toEqual([]);
    expect(names(ran.place())).toEqual(["last"]);
    const lost = taken();
    const skipped = lost.requeue("report" as JobName).map(({ job, because }) => `${job.name} ${because}`);
    expect(skipped).toEqual(["report giver", "last giver"]);
    expect(lost.settled).toBe(true);
  });

  it("tells no wait of a job that was taken: it has its place in its group", () => {
    const group = { name: "db", limit: 1 };
    const schedule = scheduleOf(
      [
        { ...makeJob("a"), group },
        { ...makeJob("b"), queueMs: 1_000 },
      ],
      runner("w", 2),
    );
    for (const name of ["a", "b"]) schedule.take(name as JobName, ["w"]);
    expect(schedule.takeDelayed()).toBe(undefined);
    schedule.requeue("a" as JobName);
    expect(names(schedule.place())).toEqual(["a"]);
  });

  it("puts a job that came to nothing back to where it stood", () => {
    const schedule = scheduleOf([makeJob("a"), makeJob("b"), makeJob("c")], runner("w", 2));
    expect(names(schedule.place())).toEqual(["a", "b"]);
    settle(schedule, "b");
    schedule.requeue("a" as JobName);
    expect(names(schedule.place())).toEqual(["a", "c"]);
  });

  it("gives a job all the slots that it takes, and keeps a runner free for it rather than let smaller ones by", () => {
    const jobs = ["first", "a", "b", "c", "d"].map((name) => makeJob(name));
    const schedule = scheduleOf([...jobs.slice(0, 1), needing(3, makeJob("big")), ...jobs.slice(1)], runner("w", 3));
    expect(shown(schedule.place())).toEqual(["first@w"]);
    settle(schedule, "first");
    expect(shown(schedule.place())).toEqual(["big@w"]);
    settle(schedule, "big");
    expect(names(schedule.place())).toEqual(["a", "b", "c"]);
  });

  it("keeps slots only on one runner, and only as many as are waited for", () => {
    const jobs = ["a", "b", "c", "d", "e", "f"].map((name) => makeJob(name));
    const big = needing(2, makeJob("big"));
    const schedule = scheduleOf([...jobs.slice(0, 3), big, ...jobs.slice(3)], runner("w", 3), runner("x", 1));
    expect(shown(schedule.place())).toEqual(["a@w", "b@w", "c@w", "d@x"]);
    settle(schedule, "a");
    expect(shown(schedule.place())).toEqual([]);
    settle(schedule, "d");
    expect(shown(schedule.place())).toEqual(["e@x"]);
    settle(schedule, "b");
    expect(shown(schedule.place())).toEqual(["big@w"]);
    settle(schedule, "c");
    expect(shown(schedule.place())).toEqual(["f@w"]);
  });

  it("lets a higher priority take what is kept for a lower one, and keeps it again behind that", () => {
    const jobs = [makeJob("a"), makeJob("b"), needing(2, makeJob("big")), { ...makeJob("top", ["a"]), priority: 1 }];
    const schedule = scheduleOf([...jobs, makeJob("late")], runner("w", 2));
    expect(names(schedule.place())).toEqual(["a", "b"]);
    settle(schedule, "a");
    expect(names(schedule.place())).toEqual(["top"]);
    settle(schedule, "b");
    expect(names(schedule.place())).toEqual([]);
    settle(schedule, "top");
    expect(names(schedule.place())).toEqual(["big"]);
  });

  it("keeps slots elsewhere when their runner is paused or lost, and gives nothing to either", () => {
    const jobs = [needing(2, makeJob("x")), needing(2, makeJob("y")), needing(2, makeJob("big")), makeJob("small")];
    const schedule = scheduleOf(jobs, runner("v", 2), runner("w", 2));
    expect(shown(schedule.place())).toEqual(["x@v", "y@w"]);
    schedule.pause("v");
    settle(schedule, "x");
    expect(shown(schedule.place())).toEqual([]);
    schedule.resume("v");
    expect(shown(schedule.place())).toEqual(["big@v"]);
    settle(schedule, "big");
    schedule.lose("v");
    expect(shown(schedule.place())).toEqual([]);
    settle(schedule, "y");
    expect(shown(schedule.place())).toEqual(["small@w"]);
  });

  it("keeps slots of another runner at once when the one that it waited for is paused", () => {
    const jobs = [needing(2, makeJob("x")), makeJob("y"), makeJob("z"), needing(2, makeJob("big")), makeJob("small")];
    const schedule = scheduleOf(jobs, runner("v", 2), runner("w", 2));
    expect(shown(schedule.place())).toEqual(["x@v", "y@w", "z@w"]);
    schedule.pause("v");
    settle(schedule, "y");
    expect(shown(schedule.place())).toEqual([]);
    settle(schedule, "z");
    expect(shown(schedule.place())).toEqual(["big@w"]);
  });

  it("gives back what nobody can run, from the beginning or once their runner is lost", () => {
    const jobs = [makeJob("a", [], { gpu: "1" }), makeJob("b"), makeJob("c", ["b"]), makeJob("d", [], { gpu: "2" })];
    const schedule = scheduleOf(jobs, runner("w", 1), runner("g", 1, { gpu: "1" }));
    expect(schedule.takeHopeless()?.name).toBe("d");
    expect(schedule.takeHopeless()).toBeUndefined();
    schedule.lose("g");
    expect(schedule.takeHopeless()?.name).toBe("a");
    schedule.place();
    expect(schedule.stop().map((job) => job.name)).toEqual(["c"]);
    settle(schedule, "b", "cancelled");
    expect(schedule.settled).toBe(false);
    settle(schedule, "a", "lost");
    settle(schedule, "d", "lost");
    expect(schedule.settled).toBe(true);
  });

  it("gives back a job that returns when nobody is left for it", () => {
    const schedule = scheduleOf([makeJob("a")], runner("w", 1));
    schedule.place();
    schedule.lose("w");
    expect(schedule.serves(makeJob("a"))).toBe(false);
    expect(schedule.takeHopeless()).toBeUndefined();
    schedule.requeue("a" as JobName);
    expect(schedule.takeHopeless()?.name).toBe("a");
  });

  it("knows the slots of jobs that run already", () => {
    const schedule = scheduleOf([makeJob("a"), makeJob("b"), makeJob("c")], runner("w", 2));
    expect(schedule.take("b" as JobName, ["w"])?.name).toBe("b");
    expect(schedule.take("b" as JobName)).toBeUndefined();
    expect(names(schedule.place())).toEqual(["a"]);
    settle(schedule, "b");
    expect(names(schedule.place())).toEqual(["c"]);
  });

  it("is not held up by the many that ask for something else, nor by those that come later", () => {
    const jobs = Array.from({ length: 100 }, (_, index) => makeJob(`busy${index}`, [], { only: `${index % 10}` }));
    const chain = Array.from({ length: 50 }, (_, index) => makeJob(`c${index}`, index > 0 ? [`c${index - 1}`] : []));
    const schedule = scheduleOf(
      [...jobs, ...chain, needing(2, makeJob("big"))],
      runner("w", 2),
      runner("b", 1, { only: "0" }),
    );
    const order: string[] = [];
    for (let placed = schedule.place(); placed.length > 0; placed = schedule.place()) {
      for (const { job } of placed) {
        order.push(job.name);
        settle(schedule, job.name);
      }
    }
    expect(order.indexOf("big")).toBeLessThan(5);
    expect(order.length).toBe(10 + 50 + 1);
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
          const schedule = scheduleOf(
            jobs,
            ...fleet.map(([slots, label], index) => runner(`w${index}`, slots, { l: label })),
          );
          const free = new Map(fleet.map(([slots], index) => [`w${index}`, slots]));
          const outcomes = new Map<string, JobOutcome>();
          const running: Placement[] = [];
          for (let turns = 0; !schedule.settled && turns < 1_000; turns++) {
            for (const placement of schedule.place()) {
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
});

// Jobs with several places at the same time, and jobs that join while the run goes on.
import { describe, expect, it } from "vitest";
import { assign } from "../../coordinator/assign.ts";
import type { PlacingRunner } from "../../coordinator/placing.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { checkSelectors, type Selector } from "../../coordinator/selectors.ts";
import type { JobName } from "../../protocol/ids.ts";
import { runner, scheduleOf, settle, shown } from "./scheduling.ts";

const makeJob = (name: string, needs: string[] = []): PlanJob => ({
  name: name as JobName,
  needs: needs as JobName[],
  on: { labels: {} },
  steps: [],
  env: [],
  graceMs: 0,
});
const place = (name: string, on: Partial<Selector> = {}) => ({ name, on: { labels: {}, ...on }, env: [] });
const withPlaces = (job: PlanJob, ...also: PlanJob["also"] & {}): PlanJob => ({ ...job, also });

describe("a job with several places", () => {
  it("is placed when all of them can be had, in their order, and gives all of their slots back", () => {
    const db = place("db", { labels: { db: "1" } });
    const jobs = [withPlaces(makeJob("copy"), db), makeJob("a"), makeJob("b")];
    const schedule = scheduleOf(jobs, runner("w", 1), runner("d", 1, { db: "1" }));
    expect(shown(schedule.place())).toEqual(["copy@w+d"]);
    settle(schedule, "copy");
    expect(shown(schedule.place())).toEqual(["a@w", "b@d"]);
  });

  it("has them on one runner too, where that has the slots", () => {
    const alone = scheduleOf([withPlaces(makeJob("two"), place("p", { slots: 2 })), makeJob("a")], runner("w", 3));
    expect(shown(alone.place())).toEqual(["two@w+w"]);
    settle(alone, "two");
    expect(shown(alone.place())).toEqual(["a@w"]);
  });

  it("gets its places one after the other while smaller jobs wait behind it", () => {
    const jobs = [makeJob("a"), makeJob("b"), withPlaces(makeJob("both"), place("p")), makeJob("c"), makeJob("d")];
    const schedule = scheduleOf(jobs, runner("w", 1), runner("x", 1));
    expect(shown(schedule.place())).toEqual(["a@w", "b@x"]);
    settle(schedule, "a");
    expect(shown(schedule.place())).toEqual([]);
    settle(schedule, "b");
    expect(shown(schedule.place()).length).toBe(1);
    settle(schedule, "both");
    expect(shown(schedule.place())).toEqual(["c@w", "d@x"]);
  });

  it("never waits for another one that waits for it", () => {
    const pair = (name: string, first: string, second: string): PlanJob => ({
      ...withPlaces(makeJob(name), place("p", { runner: second })),
      on: { labels: {}, runner: first },
    });
    const jobs = [makeJob("a"), makeJob("b"), pair("one", "w", "x"), pair("other", "x", "w"), pair("third", "w", "x")];
    const schedule = scheduleOf(jobs, runner("w", 1), runner("x", 1));
    const order: string[] = [];
    for (let placed = schedule.place(); placed.length > 0; placed = schedule.place()) {
      order.push(...shown(placed));
      for (const { job } of placed) settle(schedule, job.name);
    }
    expect(order).toEqual(["a@w", "b@x", "one@w+x", "other@x+w", "third@w+x"]);
  });

  it("takes the place that gets free first, where several fit", () => {
    const jobs = [makeJob("a"), makeJob("b"), makeJob("c"), withPlaces(makeJob("both"), place("p")), makeJob("late")];
    const schedule = scheduleOf(jobs, runner("w", 1), runner("x", 1), runner("y", 1));
    schedule.place();
    settle(schedule, "c");
    settle(schedule, "b");
    const [both] = schedule.place();
    expect([both?.runner, ...(both?.also ?? [])].sort()).toEqual(["x", "y"]);
  });

  it("waits again as a whole when one of its runners did not take it, and ends when one can no more be had", () => {
    const schedule = scheduleOf([withPlaces(makeJob("both"), place("p"))], runner("w", 1), runner("x", 1));
    expect(shown(schedule.place()).length).toBe(1);
    schedule.pause("w");
    schedule.requeue("both" as JobName);
    expect(schedule.place()).toEqual([]);
    schedule.resume("w");
    expect(shown(schedule.place()).length).toBe(1);
    schedule.requeue("both" as JobName);
    schedule.lose("x");
    expect(schedule.place()).toEqual([]);
    expect(schedule.takeHopeless()?.name).toBe("both");
  });

  it("that no runners could hold together is refused, in words", () => {
    const asked = (...runners: PlacingRunner[]): unknown => {
      try {
        checkSelectors({ jobs: [withPlaces(makeJob("both"), place("source", { labels: { db: "1" } }))] }, runners);
      } catch (error) {
        return error;
      }
      return undefined;
    };
    expect(asked(runner("w", 1), runner("d", 1, { db: "1" }))).toBeUndefined();
    expect(asked(runner("d", 2, { db: "1" }))).toBeUndefined();
    expect(asked(runner("d", 1, { db: "1" }))).toMatchObject({
      code: "SELECTOR_UNKNOWN",
      message:
        "both asks for any runner, db=1 (also.source), all at the same time; that is more than there is: d (db=1, 1 slot).",
    });
    expect(asked(runner("w", 5))).toMatchObject({
      message: "both asks for db=1 (also.source); there is w (no labels).",
    });
  });
});

describe("which runners hold several places", () => {
  const on = (slots: number, ...runners: number[]) => ({ slots, fits: (one: number) => runners.includes(one) });

  it("is found although the first choice stands in another's way", () => {
    expect(assign([on(1, 0, 1), on(1, 0)], [1, 1])).toEqual([1, 0]);
    expect(assign([on(1, 0, 1), on(1, 1, 2), on(1, 0, 2), on(2, 0, 1, 2, 3)], [1, 1, 1, 2])).toBeDefined();
    expect(assign([on(2, 0, 1), on(3, 0, 1), on(2, 0, 1)], [4, 3])).toEqual([0, 1, 0]);
    expect(assign([on(2, 0, 1), on(3, 0, 1), on(2, 0, 1)], [4, 2])).toBeUndefined();
  });

  it("is said at once for many runners that are alike, also where it cannot be", () => {
    const all = Array.from({ length: 200 }, (_, index) => index);
    const places = Array.from({ length: 50 }, () => on(3, ...all));
    expect(
      assign(
        places,
        all.map(() => 4),
      )?.length,
    ).toBe(50);
    expect(
      assign(
        places,
        all.map((_, index) => (index < 49 ? 5 : 2)),
      ),
    ).toBeUndefined();
  });
});

describe("jobs that join a run", () => {
  it("run after the job that made them, and whatever needs that waits for them, also for those that they make", () => {
    const schedule = scheduleOf([makeJob("find"), makeJob("report", ["find"])], runner("w", 4));
    expect(shown(schedule.place())).toEqual(["find@w"]);
    expect(schedule.join([makeJob("find.a", ["find"]), makeJob("find.b", ["find"])], "find" as JobName)).toEqual([]);
    expect(schedule.place()).toEqual([]);
    settle(schedule, "find");
    expect(shown(schedule.place())).toEqual(["find.a@w", "find.b@w"]);
    schedule.join([makeJob("find.a.x", ["find.a"])], "find.a" as JobName);
    settle(schedule, "find.a");
    settle(schedule, "find.b");
    expect(shown(schedule.place())).toEqual(["find.a.x@w"]);
    settle(schedule, "find.a.x");
    expect(shown(schedule.place())).toEqual(["report@w"]);
    settle(schedule, "report");
    expect(schedule.settled).toBe(true);
  });

  it("are placed at once where they need nothing, and are skipped with what needs them", () => {
    const schedule = scheduleOf([makeJob("find"), makeJob("report", ["find"])], runner("w", 4));
    schedule.place();
    schedule.join([makeJob("x"), makeJob("y", ["x"])], "find" as JobName);
    expect(shown(schedule.place())).toEqual(["x@w"]);
    settle(schedule, "find");
    expect(settle(schedule, "x", "failed").sort()).toEqual(["report x", "y x"]);
    expect(schedule.settled).toBe(true);
  });

  it("do not run where what they need has failed already, unless they run always", () => {
    const schedule = scheduleOf([makeJob("bad"), makeJob("find"), makeJob("report", ["find"])], runner("w", 4));
    schedule.place();
    settle(schedule, "bad", "failed");
    const always = { ...makeJob("z", ["bad"]), always: true as const };
    const skipped = schedule.join([makeJob("x", ["bad", "find"]), makeJob("y", ["x"]), always], "find" as JobName);
    expect(skipped.map(({ job, because }) => `${job.name} ${because}`).sort()).toEqual([
      "report bad",
      "x bad",
      "y bad",
    ]);
    expect(shown(schedule.place())).toEqual(["z@w"]);
  });

  it("do not run in a run that was cancelled meanwhile, and cannot join a job that is over", () => {
    const schedule = scheduleOf([makeJob("find"), makeJob("other")], runner("w", 1));
    schedule.place();
    schedule.stop();
    expect(schedule.join([makeJob("x")], "find" as JobName).map(({ job }) => job.name)).toEqual(["x"]);
    settle(schedule, "find", "cancelled");
    expect(schedule.settled).toBe(true);
    expect(() => schedule.join([makeJob("y")], "find" as JobName)).toThrow("find is over");
  });
});

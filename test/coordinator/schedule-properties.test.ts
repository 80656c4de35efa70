// Random plans, fleets and fates, against a schedule that is as simple as can be, and against what must always hold.
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { PlacingRunner } from "../../coordinator/placing.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { type Placement, Schedule } from "../../coordinator/schedule.ts";
import { fits, type Selector } from "../../coordinator/selectors.ts";
import type { JobName } from "../../protocol/ids.ts";

const selector = (label: string, slots: number): Selector => ({
  labels: label === "" ? {} : { l: label },
  ...(slots > 1 ? { slots } : {}),
});

interface Place {
  readonly label: string;
  readonly slots: number;
}
interface Node extends Place {
  readonly needs: readonly number[];
  readonly priority: number;
  readonly also: readonly Place[];
}

const label = fc.constantFrom("", "", "x", "y");
const nodeWith = (slots: fc.Arbitrary<number>, also: fc.Arbitrary<Place[]>): fc.Arbitrary<Node> =>
  fc.record({
    needs: fc.array(fc.nat(60), { maxLength: 2 }),
    priority: fc.constantFrom(0, 0, 0, 1, -1),
    label,
    slots,
    also,
  });
const jobsOf = (nodes: readonly Node[]): PlanJob[] =>
  nodes.map(({ needs, priority, label, slots, also }, index) => ({
    name: `j${index}` as JobName,
    needs: [...new Set(needs.filter((need) => need < index).map((need) => `j${need}` as JobName))],
    on: selector(label, slots),
    ...(also.length > 0
      ? { also: also.map((place, at) => ({ name: `p${at}`, on: selector(place.label, place.slots), env: [] })) }
      : {}),
    ...(priority ? { priority } : {}),
    steps: [],
    env: [],
    graceMs: 0,
  }));
const fleetOf = (sizes: readonly (readonly [number, string])[]): PlacingRunner[] =>
  sizes.map(([slots, label], index) => ({ id: `w${index}`, name: `w${index}`, labels: { l: label }, slots }));

/** Looks at all that waits and at all runners, each time. */
class Naive {
  readonly #waiting: { job: PlanJob; since: number }[] = [];
  readonly #since = new Map<JobName, number>();
  readonly #free: Map<string, number>;
  readonly closed = new Set<string>();
  readonly #runners: readonly PlacingRunner[];

  constructor(runners: readonly PlacingRunner[]) {
    this.#runners = runners;
    this.#free = new Map(runners.map(({ id, slots }) => [id, slots]));
  }

  ready(job: PlanJob): void {
    const since = this.#since.get(job.name) ?? this.#since.size;
    this.#since.set(job.name, since);
    this.#waiting.push({ job, since });
  }

  cancel(name: JobName): void {
    this.#waiting.splice(
      this.#waiting.findIndex(({ job }) => job.name === name),
      1,
    );
  }

  free(runner: string): void {
    this.#free.set(runner, (this.#free.get(runner) ?? 0) + 1);
  }

  place(): Placement[] {
    const placements: Placement[] = [];
    this.#waiting.sort((one, other) => (other.job.priority ?? 0) - (one.job.priority ?? 0) || one.since - other.since);
    for (const waiting of [...this.#waiting]) {
      const [best] = this.#runners
        .filter(({ id }) => !this.closed.has(id) && (this.#free.get(id) ?? 0) > 0)
        .filter((runner) => fits(waiting.job.on, runner))
        .sort((one, other) => (this.#free.get(other.id) ?? 0) - (this.#free.get(one.id) ?? 0));
      if (!best) continue;
      this.#free.set(best.id, (this.#free.get(best.id) ?? 0) - 1);
      this.#waiting.splice(this.#waiting.indexOf(waiting), 1);
      placements.push({ job: waiting.job, runner: best.id });
    }
    return placements;
  }
}

describe("any schedule", () => {
  it("of jobs of one slot places each as one does that looks at everything, whatever happens meanwhile", () => {
    const happening = fc.record({
      what: fc.constantFrom("pass", "pass", "pass", "pass", "requeue", "pause", "resume", "cancel"),
      which: fc.nat(60),
    });
    fc.assert(
      fc.property(
        fc.array(nodeWith(fc.constant(1), fc.constant([])), { minLength: 1, maxLength: 60 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 3 }), fc.constantFrom("x", "y", "z")), {
          minLength: 1,
          maxLength: 6,
        }),
        fc.array(happening, { minLength: 20, maxLength: 150 }),
        (nodes, sizes, happenings) => {
          const fleet = [
            ...fleetOf(sizes),
            ...fleetOf([
              [1, "x"],
              [1, "y"],
            ]).map((one) => ({ ...one, id: `s${one.id}` })),
          ];
          const jobs = jobsOf(nodes);
          const schedule = new Schedule({ recipe: "test", jobs }, fleet);
          const naive = new Naive(fleet);
          const missing = new Map(jobs.map(({ name, needs }) => [name, new Set(needs)]));
          for (const job of jobs) if (job.needs.length === 0) naive.ready(job);
          const running: Placement[] = [];
          const waits = new Set(jobs.filter(({ needs }) => needs.length === 0).map(({ name }) => name));
          const over = (name: JobName): void => {
            for (const job of jobs) {
              const needs = missing.get(job.name);
              if (!needs?.delete(name) || needs.size > 0) continue;
              naive.ready(job);
              waits.add(job.name);
            }
          };
          const end = (at: number, how: "pass" | "requeue"): void => {
            const [one] = running.splice(at, 1);
            if (!one) return;
            naive.free(one.runner);
            if (how === "requeue") {
              schedule.requeue(one.job.name);
              naive.ready(one.job);
              waits.add(one.job.name);
              return;
            }
            expect(schedule.settle(one.job.name, "passed")).toEqual([]);
            over(one.job.name);
          };
          const step = (): void => {
            const placed = schedule.place();
            expect(placed).toEqual(naive.place());
            for (const { job } of placed) waits.delete(job.name);
            running.push(...placed);
          };
          step();
          for (const { what, which } of happenings) {
            const runner = fleet[which % fleet.length]?.id as string;
            if (what === "pause") {
              schedule.pause(runner);
              naive.closed.add(runner);
            } else if (what === "resume") {
              schedule.resume(runner);
              naive.closed.delete(runner);
            } else if (what === "cancel") {
              // Like one that failed and may: so what needs it goes on.
              const name = [...waits][which % Math.max(1, waits.size)];
              if (name === undefined) continue;
              waits.delete(name);
              schedule.take(name);
              naive.cancel(name);
              schedule.settle(name, "passed");
              over(name);
            } else if (running.length > 0) end(which % running.length, what === "requeue" ? "requeue" : "pass");
            step();
          }
          for (const { id } of fleet) {
            schedule.resume(id);
            naive.closed.delete(id);
          }
          step();
          for (let turns = 0; running.length > 0 && turns < 1_000; turns++) {
            end(0, "pass");
            step();
          }
          expect(schedule.settled).toBe(true);
        },
      ),
      { numRuns: 400 },
    );
  });

  it("with jobs of several slots and places never takes more than there is, lets nothing by that comes first, and ends", () => {
    const slots = fc.constantFrom(1, 1, 1, 2, 3);
    const also = fc.oneof(
      { weight: 3, arbitrary: fc.constant<Place[]>([]) },
      { weight: 1, arbitrary: fc.array(fc.record({ label, slots }), { minLength: 1, maxLength: 3 }) },
    );
    let gangs = 0;
    fc.assert(
      fc.property(
        fc.array(nodeWith(slots, also), { minLength: 1, maxLength: 40 }),
        fc.array(fc.tuple(fc.integer({ min: 1, max: 4 }), fc.constantFrom("x", "y", "z")), {
          minLength: 1,
          maxLength: 6,
        }),
        fc.array(fc.tuple(fc.constantFrom("end", "end", "end", "pause", "resume", "lose"), fc.nat(60)), {
          maxLength: 60,
        }),
        (nodes, sizes, happenings) => {
          const fleet = fleetOf(sizes);
          const jobs = jobsOf(nodes);
          const schedule = new Schedule({ recipe: "test", jobs }, fleet);
          const byId = new Map(fleet.map((runner) => [runner.id, runner]));
          const free = new Map(fleet.map(({ id, slots }) => [id, slots]));
          const state = new Map<string, string>();
          const ended = new Map<JobName, string>();
          const running: Placement[] = [];
          const turn = new Map<JobName, number>();
          const ready = (): void => {
            for (const { name, needs } of jobs)
              if (!turn.has(name) && !ended.has(name) && needs.every((need) => ended.get(need) === "passed"))
                turn.set(name, turn.size);
          };
          const use = ({ job, runner, also = [] }: Placement, sign: 1 | -1): void => {
            for (const [index, id] of [runner, ...also].entries()) {
              const on = index === 0 ? job.on : (job.also?.[index - 1]?.on as Selector);
              expect(fits(on, byId.get(id) as PlacingRunner)).toBe(true);
              free.set(id, (free.get(id) ?? 0) - sign * (on.slots ?? 1));
              expect(free.get(id)).toBeGreaterThanOrEqual(0);
            }
          };
          const settle = (name: JobName, outcome: "passed" | "lost"): void => {
            ended.set(name, outcome);
            for (const { job } of schedule.settle(name, outcome)) ended.set(job.name, "skipped");
            ready();
          };
          const step = (): void => {
            for (let job = schedule.takeHopeless(); job; job = schedule.takeHopeless()) settle(job.name, "lost");
            for (const placement of schedule.place()) {
              const { job, runner, also = [] } = placement;
              expect(also.length).toBe(job.also?.length ?? 0);
              if (also.length > 0) gangs++;
              for (const id of [runner, ...also]) expect(state.get(id) ?? "open").toBe("open");
              expect(job.needs.every((need) => ended.get(need) === "passed")).toBe(true);
              use(placement, 1);
              running.push(placement);
            }
            const waiting = jobs
              .filter(({ name }) => turn.has(name) && !ended.has(name) && !running.some(({ job }) => job.name === name))
              .sort(
                (one, other) =>
                  (other.priority ?? 0) - (one.priority ?? 0) ||
                  (turn.get(one.name) as number) - (turn.get(other.name) as number),
              );
            // Whoever comes first of all never waits beside a runner that it could have.
            const first = waiting[0];
            if (first && !first.also)
              for (const runner of fleet)
                if ((state.get(runner.id) ?? "open") === "open" && fits(first.on, runner))
                  expect(free.get(runner.id)).toBeLessThan(first.on.slots ?? 1);
          };
          ready();
          step();
          const end = (which: number): void => {
            const [one] = running.splice(which % Math.max(1, running.length), 1);
            if (!one) return;
            use(one, -1);
            settle(one.job.name, "passed");
          };
          for (const [what, which] of happenings) {
            const { id } = fleet[which % fleet.length] as PlacingRunner;
            if (what === "end") end(which);
            else if (what === "lose" && which % 4 === 0) {
              state.set(id, "lost");
              schedule.lose(id);
            } else if (state.get(id) !== "lost" && what !== "lose") {
              state.set(id, what === "pause" ? "paused" : "open");
              if (what === "pause") schedule.pause(id);
              else schedule.resume(id);
            }
            step();
          }
          for (const { id } of fleet) {
            if (state.get(id) !== "lost") state.set(id, "open");
            schedule.resume(id);
          }
          step();
          // Nothing more happens than that jobs end: all others must come to run.
          while (running.length > 0) {
            end(0);
            step();
          }
          expect(schedule.settled).toBe(true);
          expect(ended.size).toBe(jobs.length);
        },
      ),
      { numRuns: 600 },
    );
    expect(gangs).toBeGreaterThan(100);
  });
});

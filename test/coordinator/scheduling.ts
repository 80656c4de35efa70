// Runners and schedules for the tests of placing, and what came of them as short texts.
import type { JobOutcome } from "../../coordinator/events.ts";
import type { PlacingRunner } from "../../coordinator/placing.ts";
import type { PlanJob } from "../../coordinator/plan.ts";
import { type Placement, Schedule } from "../../coordinator/schedule.ts";
import type { JobName } from "../../protocol/ids.ts";

export const runner = (id: string, slots: number, labels: Record<string, string> = {}): PlacingRunner => ({
  id,
  name: id,
  labels,
  slots,
});
export const scheduleOf = (jobs: PlanJob[], ...runners: PlacingRunner[]): Schedule =>
  new Schedule({ recipe: "test", jobs }, runners);
export const shown = (placements: readonly Placement[]): string[] =>
  placements.map(({ job, runner, also = [] }) => `${job.name}@${[runner, ...also].join("+")}`);
export const settle = (schedule: Schedule, name: string, outcome: JobOutcome = "passed"): string[] =>
  schedule.settle(name as JobName, outcome).map(({ job, because }) => `${job.name} ${because}`);

// What the coordinator itself costs for each job, from 100 jobs to 10,000, over 200 runners: whole runs through execute(),
// with runners that end each job at once and answer through the real call layer, in memory; and the schedule alone.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execute } from "../coordinator/execute.ts";
import type { PlanJob } from "../coordinator/plan.ts";
import { type Placement, Schedule } from "../coordinator/schedule.ts";
import { openStore } from "../coordinator/store/store.ts";
import { type JobName, newRunId } from "../protocol/ids.ts";
import { simulatedRunner } from "../test/rig/simulated-fleet.ts";
import { median } from "./rig.ts";

/** Logs are kept where there is no disk: making a file costs more there than all else, and each time something else. */
const memory = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const RUNNERS = 200;
const SLOTS = 2;
const SIZES = [100, 1_000, 10_000];
const ROUNDS = 3;
/** Jobs of a size that a round measures, at least: the smallest run is made so many times. */
const EACH = 1_000;

/** Gives each line once it is measured. */
export async function* scheduleAtSize(): AsyncGenerator<[name: string, text: string]> {
  yield await flatness("a job of a run, without its runner", async (jobs) => {
    const folder = mkdtempSync(join(memory, "sortie-bench-"));
    const store = openStore(folder);
    try {
      const runners = Array.from({ length: RUNNERS }, (_, index) =>
        simulatedRunner(`w${index}`, SLOTS, labelsOf(index)),
      );
      const began = performance.now();
      await execute({
        run: newRunId(),
        plan: { recipe: "/recipe.ts", jobs, names: new Map(), source: "" },
        params: {},
        runners,
        folder,
        claims: store.claims,
        jobs: RUNNERS * SLOTS,
        failFast: false,
        cancelled: new AbortController().signal,
        emit: () => {},
      });
      return performance.now() - began;
    } finally {
      store.close();
      rmSync(folder, { recursive: true, force: true });
    }
  });
  yield await flatness("the schedule alone, a job", async (jobs) => {
    const runners = Array.from({ length: RUNNERS }, (_, index) => ({
      id: `w${index}`,
      name: `w${index}`,
      labels: labelsOf(index),
      slots: SLOTS,
    }));
    const began = performance.now();
    const schedule = new Schedule({ recipe: "/recipe.ts", jobs }, runners);
    const running: Placement[] = [];
    for (let at = 0; !schedule.settled; at++) {
      running.push(...schedule.place());
      const next = running[at];
      if (next) schedule.settle(next.job.name, "passed");
    }
    return performance.now() - began;
  });
}

const labelsOf = (index: number): Record<string, string> => ({ os: "linux", zone: `z${index % 10}` });

/** A third of the jobs asks for one of ten zones; all but the first hundred need two others. */
const jobsOf = (count: number): PlanJob[] =>
  Array.from({ length: count }, (_, index) => ({
    name: `j${index}` as JobName,
    needs: (index < 100 ? [] : [`j${index - 100}`, `j${index - 1 - (index % 50)}`]) as JobName[],
    on: { labels: index % 3 ? {} : { zone: `z${index % 10}` } },
    steps: [{ argv: ["true"] }],
    env: [],
    graceMs: 0,
  }));

/** Sizes in turn, after a run that is not counted. */
async function flatness(
  name: string,
  measure: (jobs: readonly PlanJob[]) => Promise<number>,
): Promise<[name: string, text: string]> {
  await measure(jobsOf(EACH));
  const costs = SIZES.map((): number[] => []);
  for (let round = 0; round < ROUNDS; round++) {
    for (const [at, size] of SIZES.entries()) {
      const runs = Math.max(1, EACH / size);
      let total = 0;
      for (let run = 0; run < runs; run++) total += await measure(jobsOf(size));
      costs[at]?.push((total * 1000) / (runs * size));
    }
  }
  const each = costs.map((values) => median(values));
  const listed = SIZES.map((size, at) => `${size}: ${each[at]?.toFixed(1)} \u00b5s`).join(", ");
  return [
    name,
    `${listed}; at ${SIZES.at(-1)} over at ${SIZES[0]} = ${((each.at(-1) ?? 0) / (each[0] ?? 1)).toFixed(2)}`,
  ];
}

import { describe, expect, it } from "vitest";
import { fingerprintOfJob } from "../../coordinator/fingerprint.ts";
import { type EarlierRun, keptOf } from "../../coordinator/keep.ts";
import { type Plan, planOf } from "../../coordinator/plan.ts";
import { job, recipe } from "../../coordinator/recipe/sdk.ts";
import { selectJobs } from "../../coordinator/select.ts";
import type { JobRow, RunRow } from "../../coordinator/store/rows.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";

function planned({ test = "npm test" } = {}): Plan {
  const fetch = job({ run: "fetch" });
  const build = job({ needs: [fetch], run: "build" });
  const check = job({ needs: [build], run: test });
  const lint = job({ run: "lint" });
  const ship = job({ needs: [check, lint], run: "ship" });
  return planOf({ path: import.meta.filename, recipe: recipe({ fetch, build, check, lint, ship }), source: "" });
}

/** As the record has it: jobs that are named passed, in this run or in the one named beside them. */
function earlier(passed: Record<string, string | true>, plan = planned()): EarlierRun {
  const jobs = plan.jobs.map(
    (one): JobRow => ({
      ...{
        run: "now" as RunId,
        name: one.name,
        needs: one.needs,
        allowed: false,
        message: null,
        output: undefined,
        givenBy: null,
        attempts: [],
      },
      outcome: passed[one.name] ? "passed" : "failed",
      fingerprint: fingerprintOfJob(one),
      kept: typeof passed[one.name] === "string" ? (passed[one.name] as RunId) : null,
    }),
  );
  return { row: { id: "now" } as RunRow, jobs };
}

const kept = (run: EarlierRun, from: string[] = [], plan = planned()): string[] => [
  ...keptOf(plan, plan, run, from).keys(),
];

describe("what a run that goes on keeps", () => {
  it("is what passed, and needs nothing that is run again", () => {
    expect(kept(earlier({ fetch: true, build: true, lint: true }))).toEqual(["fetch", "build", "lint"]);
    expect(kept(earlier({ fetch: true, build: true, check: true, lint: true, ship: true }), ["build"])).toEqual([
      "fetch",
      "lint",
    ]);
    // It passed, by --skip or --only, although what it needs did not.
    expect(kept(earlier({ build: true }))).toEqual([]);
  });

  it("tells the run in which each passed, however many go on from each other", () => {
    const run = earlier({ fetch: "first", build: true });
    expect(Object.fromEntries(keptOf(planned(), planned(), run, []))).toEqual({ fetch: "first", build: "now" });
  });

  it("is refused where a job is not what it was, by its name; what is run again may be another", () => {
    const run = earlier({ fetch: true, build: true, check: true });
    const changed = planned({ test: "npm run all-tests" });
    expect(() => kept(run, [], changed)).toThrow("check is not what it was in the run now, where it passed.");
    expect(kept(run, ["check"], changed)).toEqual(["fetch", "build"]);
    expect(kept(run, ["build"], changed)).toEqual(["fetch"]);
  });

  it("is the same with some of the jobs, whatever takes the place of their needs", () => {
    const whole = planned();
    const some = selectJobs(whole, { skip: ["build"] });
    expect([...keptOf(some, whole, earlier({ fetch: true, check: true }), []).keys()]).toEqual(["fetch", "check"]);
  });

  it("is no job that gave others while it ran: they are known once it has run again", () => {
    const run = earlier({ fetch: true, build: true });
    const given = { ...(run.jobs[0] as JobRow), name: "build.web" as JobName, givenBy: "build" as JobName };
    expect(kept({ ...run, jobs: [...run.jobs, given] })).toEqual(["fetch"]);
  });

  it("is asked for by names that the plan has", () => {
    expect(() => kept(earlier({}), ["biuld"])).toThrow('no job "biuld"');
  });
});

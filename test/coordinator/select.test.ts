import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Plan, PlanJob } from "../../coordinator/plan.ts";
import { restrictTo, type Selection, selectJobs } from "../../coordinator/select.ts";
import { renderGraph } from "../../coordinator/views/graph.ts";
import { planDocument } from "../../coordinator/views/plan-document.ts";
import type { JobName } from "../../protocol/ids.ts";

const job = (name: string, ...needs: string[]): PlanJob => ({
  ...{ name: name as JobName, needs: needs as JobName[], on: { labels: {} } },
  ...{ steps: [{ argv: ["true"] }], env: [["TOKEN", "hidden"]], graceMs: 5_000 },
});
const plan: Plan = {
  recipe: "ci.ts",
  jobs: [
    job("fetch"),
    job("build", "fetch"),
    job("lint", "fetch"),
    job("test[a,b]", "build"),
    job("ship", "test[a,b]", "lint"),
  ],
};
const select = (selection: Selection): string[] =>
  selectJobs(plan, selection).jobs.map(({ name, needs }) => [name, ...needs].join(" < "));

describe("jobs of a plan", () => {
  it("are all of them where none is named", () => {
    expect(selectJobs(plan, {})).toBe(plan);
  });

  it("are those that are named, and what they need", () => {
    expect(select({ jobs: ["build", "lint"] })).toEqual(["fetch", "build < fetch", "lint < fetch"]);
    expect(select({ jobs: ["test[a,b]"] })).toEqual(["fetch", "build < fetch", "test[a,b] < build"]);
  });

  it("are those of --only alone, still one after the other", () => {
    expect(select({ only: ["ship", "fetch"] })).toEqual(["fetch", "ship < fetch"]);
  });

  it("are without those of --skip, and what needs them needs what they need", () => {
    expect(select({ skip: ["build"] })).toEqual([
      "fetch",
      "lint < fetch",
      "test[a,b] < fetch",
      "ship < test[a,b] < lint",
    ]);
    expect(select({ jobs: ["test[a,b]"], skip: ["build"] })).toEqual(["fetch", "test[a,b] < fetch"]);
  });

  it("are told of where a name is wrong, the nearest one first", () => {
    for (const selection of [{ jobs: ["biuld"] }, { only: ["biuld"] }, { skip: ["biuld"] }])
      expect(() => select(selection)).toThrow(
        expect.objectContaining({
          code: "USAGE",
          message: expect.stringContaining('no job "biuld"'),
          hint: "Did you mean build?",
        }),
      );
    expect(() => select({ jobs: ["fetch"], skip: ["fetch"] })).toThrow("No job is left to run.");
    expect(() => select({ jobs: ["fetch"], only: ["build"] })).toThrow("one of them is enough");
  });

  it("keep their order whatever is left out, and get no other", () => {
    const size = 8;
    fc.assert(
      fc.property(
        fc.array(fc.boolean(), { minLength: size * size, maxLength: size * size }),
        fc.subarray([...Array(size).keys()]),
        (edges, kept) => {
          const jobs = [...Array(size).keys()].map((index) =>
            job(
              `j${index}`,
              ...[...Array(index).keys()].filter((need) => edges[index * size + need]).map((need) => `j${need}`),
            ),
          );
          const names = new Set(kept.map((index) => `j${index}` as JobName));
          const restricted = restrictTo({ recipe: "r", jobs }, names);
          expect(new Set(restricted.jobs.map(({ name }) => name))).toEqual(names);
          const [before, after] = [reached(jobs), reached(restricted.jobs)];
          for (const name of names)
            expect(after.get(name)).toEqual(new Set([...(before.get(name) ?? [])].filter((one) => names.has(one))));
        },
      ),
    );
  });
});

/** Whatever each job comes after. */
function reached(jobs: readonly PlanJob[]): Map<JobName, Set<JobName>> {
  const all = new Map<JobName, Set<JobName>>();
  for (const { name, needs } of jobs) all.set(name, new Set(needs.flatMap((need) => [need, ...(all.get(need) ?? [])])));
  return all;
}

describe("a plan's graph", () => {
  it("is Mermaid, or dot, with names as they are", () => {
    const small = selectJobs(plan, { jobs: ["test[a,b]"] });
    expect(renderGraph(small, "mermaid")).toBe(
      'flowchart LR\n  j0["fetch"]\n  j1["build"]\n  j2["test[a,b]"]\n  j0 --> j1\n  j1 --> j2\n',
    );
    expect(renderGraph(small, "dot")).toBe(
      'digraph {\n  rankdir=LR;\n  "fetch";\n  "build";\n  "test[a,b]";\n  "fetch" -> "build";\n  "build" -> "test[a,b]";\n}\n',
    );
  });
});

describe("a plan as a document", () => {
  it("has each job, and of its variables the names alone", () => {
    const text = JSON.stringify(planDocument(plan));
    expect(text).not.toContain("hidden");
    expect(JSON.parse(text).jobs[1]).toEqual({
      ...{ name: "build", needs: ["fetch"], on: { labels: {} }, steps: [{ argv: ["true"] }] },
      ...{ variables: ["TOKEN"], graceMs: 5_000 },
    });
  });
});

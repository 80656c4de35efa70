import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type Plan, planOf } from "../../coordinator/plan.ts";
import { type Job, type JobOptions, job, recipe, sh } from "../../coordinator/recipe/sdk.ts";
import { checkSelectors, describeSelector, fits, selectorKey } from "../../coordinator/selectors.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";

const plan = (jobs: Record<string, Job>): Plan =>
  planOf({ path: import.meta.filename, recipe: recipe(jobs), source: "" });
const one = (options: Partial<JobOptions>): Plan => plan({ one: job({ run: "true", ...options }) });

function errorOf(make: () => unknown): SortieError {
  try {
    make();
  } catch (error) {
    if (error instanceof SortieError) return error;
    throw error;
  }
  throw new Error("nothing was thrown");
}

describe("the plan", () => {
  it("has everything of a job in the form in which it is sent", () => {
    const build = job({ run: ["npm", "ci"] });
    const test = job({
      needs: [build, build],
      on: { os: "linux", runner: "w1" },
      env: { A: "1", B: "2" },
      cwd: "/srv",
      timeout: "10m",
      grace: "30s",
      run: [sh`echo ${"a b"}`, ["npm", "test"]],
    });
    expect(plan({ build, test }).jobs).toMatchObject([
      { name: "build", needs: [], on: { labels: {} }, steps: [{ argv: ["npm", "ci"] }], graceMs: limits.graceMs },
      {
        name: "test",
        needs: ["build"],
        on: { runner: "w1", labels: { os: "linux" } },
        env: [
          ["A", "1"],
          ["B", "2"],
        ],
        cwd: "/srv",
        timeoutMs: 600_000,
        graceMs: 30_000,
        steps: [{ shell: "echo 'a b'" }, { argv: ["npm", "test"] }],
        at: { file: import.meta.filename },
      },
    ]);
  });

  it("names a circle in full, with the line of a job in it", () => {
    const needs: Job[] = [];
    const a = job({ run: "true", needs });
    const b = job({ run: "true", needs: [a] });
    const c = job({ run: "true", needs: [b] });
    needs.push(c);
    const error = errorOf(() => plan({ a, b, c }));
    expect(error.code).toBe("RECIPE_CYCLE");
    expect(error.message).toContain("a -> c -> b -> a");
    expect(error.at?.file).toBe(import.meta.filename);
    expect([a, b, c].map((one) => one.location?.line)).toContain(error.at?.line);
  });

  it("says what cannot be planned, and where", () => {
    const lost = job({ run: "true" });
    const cases: [() => Plan, RegExp][] = [
      [() => plan({}), /no jobs/],
      [() => plan({ "a/b": lost }), /"a\/b" cannot be a job's name/],
      [() => plan({ a: lost, b: lost }), /two names, a and b/],
      [() => one({ needs: [lost] }), /one needs a job, which recipe\(\) does not list \(made on line \d+\)/],
      [() => one({ on: { "a b": "1" } }), /one: on/],
      [() => one({ on: { constructor: "1" } }), /one: on cannot have a label constructor/],
      [() => one({ on: { runner: "a gpu=x" } }), /one: on\.runner/],
      [() => one({ grace: "1h" }), /one: grace is at most 10 minutes/],
      [() => one({ run: ["echo", "a\0"] }), /NUL/],
      [() => one({ run: Array.from({ length: limits.stepsPerJob + 1 }, () => sh`true`) }), /more than/],
    ];
    for (const [make, says] of cases) {
      const error = errorOf(make);
      expect(error.code).toBe("RECIPE_INVALID");
      expect(error.message).toMatch(says);
      expect(error.at?.file).toBe(import.meta.filename);
    }
  });

  it("calls a job that is not listed by the name of its variable", () => {
    const source = 'const build = job({ run: "true" });';
    const build = job({ run: "true" });
    Object.defineProperty(build.location, "line", { value: 1 });
    Object.defineProperty(build.location, "column", { value: source.indexOf("job(") + 1 });
    const make = () =>
      planOf({ path: import.meta.filename, source, recipe: recipe({ test: job({ run: "true", needs: [build] }) }) });
    expect(errorOf(make).message).toBe("test needs build, which recipe() does not list (made on line 1).");
  });

  it("has every job once, behind what it needs, and in the same order each time", () => {
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.nat(), { maxLength: 4 }), { minLength: 1, maxLength: 40 }),
        fc.integer(),
        (graph, seed) => {
          const made: Job[] = [];
          for (const needs of graph)
            made.push(
              job({
                run: "true",
                needs: made.length === 0 ? [] : needs.map((need) => made[need % made.length] as Job),
              }),
            );
          // Listed in another order than made.
          const jobs = Object.fromEntries(
            made
              .map((value, index) => ({ name: `j${index}`, value, at: Math.imul(index + 1, seed | 1) }))
              .sort((a, b) => a.at - b.at)
              .map(({ name, value }) => [name, value]),
          );
          const { jobs: planned } = plan(jobs);
          expect(planned.map(({ name }) => name).sort()).toEqual(Object.keys(jobs).sort());
          const seen = new Set<string>();
          for (const { name, needs } of planned) {
            expect(needs.every((need) => seen.has(need))).toBe(true);
            seen.add(name);
          }
          expect(plan(jobs)).toEqual(plan(jobs));
        },
      ),
      { numRuns: 100 },
    );
  });

  it("takes a chain of 10,000 jobs", () => {
    const jobs: Record<string, Job> = {};
    let last: Job | undefined;
    for (let index = 0; index < 10_000; index++) {
      last = job({ run: "true", needs: last ? [last] : [] });
      jobs[`j${index}`] = last;
    }
    const reversed = Object.fromEntries(Object.entries(jobs).reverse());
    expect(plan(reversed).jobs.map(({ name }) => name)).toEqual(Object.keys(jobs));
  });
});

describe("a selector", () => {
  const fleet = [
    { name: "w1", labels: { os: "linux", arch: "x64" } },
    { name: "w2", labels: { os: "darwin" } },
  ];

  it("fits runners that have every label, or the one name", () => {
    const fitting = (on: Record<string, string>): string[] => {
      const [planned] = one({ on }).jobs;
      return fleet.filter((runner) => planned && fits(planned.on, runner)).map(({ name }) => name);
    };
    expect(fitting({})).toEqual(["w1", "w2"]);
    expect(fitting({ os: "linux" })).toEqual(["w1"]);
    expect(fitting({ os: "linux", arch: "arm64" })).toEqual([]);
    expect(fitting({ runner: "w2" })).toEqual(["w2"]);
    expect(fitting({ runner: "w2", os: "linux" })).toEqual([]);
  });

  it("that no runner can be is an error, which names the job, what it asks, and what there is", () => {
    expect(() => checkSelectors(one({ on: { os: "linux" } }), fleet)).not.toThrow();
    const error = errorOf(() => checkSelectors(one({ on: { gpu: "a100" } }), fleet));
    expect(error.code).toBe("SELECTOR_UNKNOWN");
    expect(error.message).toBe("one asks for gpu=a100; there is w1 (os=linux arch=x64), w2 (os=darwin).");
    expect(error.at?.file).toBe(import.meta.filename);
    expect(errorOf(() => checkSelectors(one({}), [])).message).toContain("there is no runner");
    expect(errorOf(() => checkSelectors(one({ on: { runner: "w11" } }), fleet)).hint).toBe(
      "Did you mean the runner w1?",
    );
  });

  it("that no runner can be does not fill the screen with those there are", () => {
    const many = Array.from({ length: 200 }, (_, index) => ({ name: `w${index}`, labels: {} }));
    const { message } = errorOf(() => checkSelectors(one({ on: { gpu: "a100" } }), many));
    expect(message).toContain("190 more");
    expect(message.length).toBeLessThan(400);
  });

  it("is the same as another that asks for the same, and as no other", () => {
    const key = (on: Record<string, string>): string => selectorKey(one({ on }).jobs[0]?.on ?? { labels: {} });
    expect(key({ a: "1", b: "2" })).toBe(key({ b: "2", a: "1" }));
    const different = [{}, { a: "1" }, { runner: "a" }, { runner: "a", a: "1" }, { a: "1", b: "2" }];
    expect(new Set(different.map(key)).size).toBe(different.length);
    expect(describeSelector({ labels: {} })).toBe("any runner");
  });
});

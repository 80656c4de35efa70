import { describe, expect, expectTypeOf, it } from "vitest";
import { planOf } from "../../coordinator/plan.ts";
import { type Job, type Jobs, job, matrix, recipe } from "../../coordinator/recipe/sdk.ts";
import { limits } from "../../protocol/limits.ts";

const named = (jobs: Jobs) => planOf({ path: import.meta.filename, recipe: recipe(jobs), source: "" }).jobs;
const make = (): Job => job({ run: "true" });

describe("a matrix", () => {
  it("is a job for each combination but the excluded, named by its cell, and needed as a whole", () => {
    const test = matrix(
      { node: ["24", "26"], os: ["linux", "darwin"] },
      ({ node, os }) => job({ run: ["echo", node, os] }),
      { exclude: [{ node: "24", os: "darwin" }] },
    );
    const jobs = named({ test, after: job({ run: "true", needs: [test] }) });
    const cells = ["test[node=24,os=linux]", "test[node=26,os=linux]", "test[node=26,os=darwin]"];
    expect(jobs.map(({ name }) => name)).toEqual([...cells, "after"]);
    expect(jobs[3]?.needs).toEqual(cells);
    expect(jobs[1]?.steps).toEqual([{ argv: ["echo", "26", "linux"] }]);
    expect(Object.isFrozen(test) && Object.isFrozen(test.jobs)).toBe(true);
  });

  it("knows the types of its cells", () => {
    matrix({ node: ["24", "26"], fast: [true, false], part: [1, 2] }, (cell) => {
      expectTypeOf(cell).toEqualTypeOf<{
        readonly node: "24" | "26";
        readonly fast: true | false;
        readonly part: 1 | 2;
      }>();
      return make();
    });
    // @ts-expect-error there is no such value
    expect(() => matrix({ node: ["24"] }, make, { exclude: [{ node: "25" }] })).toThrow(/has node "25"/);
    // @ts-expect-error there is no such axis
    expect(() => matrix({ node: ["24"] }, make, { exclude: [{ ndoe: "24" }] })).toThrow(/did you mean node/);
    // @ts-expect-error a cell has its axes only
    matrix({ node: ["24"] }, ({ os }) => job({ run: ["echo", os ?? ""] }));
  });

  it("says what is wrong with it, at its own line", () => {
    const of = (axes: unknown, exclude?: unknown) => () =>
      matrix(axes as Record<string, string[]>, make, exclude === undefined ? {} : { exclude: exclude as [] });
    expect(of({})).toThrow(/object of axes/);
    expect(of({ node: [] })).toThrow(/axis node must be a list/);
    expect(of({ node: ["24", "24"] })).toThrow(/"24" twice/);
    expect(of({ node: [1, "1"] })).toThrow(/"1" twice/);
    expect(of({ image: ["a/b"] })).toThrow(/cannot stand in a job's name: "a\/b"/);
    expect(of({ image: ["a,b=c"] })).toThrow(/cannot stand/);
    expect(of({ node: [{}] })).toThrow(/takes strings, numbers and booleans, not object/);
    expect(of({ "a b": ["1"] })).toThrow(/"a b" cannot be an axis's name/);
    expect(of({ node: ["24"] }, [{ node: "24" }])).toThrow(/no cell left/);
    expect(of({ node: ["24"] }, [{}])).toThrow(/Number 1 of exclude must be an object/);
    const numbers = Array.from({ length: limits.matrixCells + 1 }, (_, index) => index);
    expect(of({ n: numbers })).toThrow(/has 1001 cells, and 1000 are the most/);
    expect(of({ n: numbers.slice(1) })).not.toThrow();
    expect(() => matrix({ node: ["24"] }, () => "true" as never)).toThrow(
      /must give what job\(\) gave, also for node=24/,
    );
    expect(() => matrix({ node: ["24"] }, make, { excldue: [] } as never)).toThrow(/did you mean exclude/);
    try {
      of({})();
    } catch (error) {
      expect(error).toHaveProperty("location.file", import.meta.filename);
    }
  });

  it("that the recipe does not list cannot be needed, and one job cannot be two cells", () => {
    const test = matrix({ node: ["24"] }, make);
    expect(() => named({ after: job({ run: "true", needs: [test] }) })).toThrow(
      /needs a matrix, which recipe\(\) does not list/,
    );
    const one = make();
    expect(() => named({ test: matrix({ node: ["24", "26"] }, () => one) })).toThrow(/One job has two names/);
    expect(() => recipe({ test, "test[node=24]": make() })).toThrow(/the name of one that a matrix made/);
  });
});

import { spawnSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, expectTypeOf, it } from "vitest";
import { parseDuration } from "../../coordinator/recipe/duration.ts";
import { type Job, job, recipe, sh } from "../../coordinator/recipe/sdk.ts";

describe("the recipe SDK", () => {
  it("quotes every interpolation for a real shell", () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.string({
            unit: fc.constantFrom("a", " ", "'", '"', "$", "`", "\\", "\n", "*", "~", ";", "é", "😀", "\t", "!", "#"),
          }),
          { minLength: 1, maxLength: 10 },
        ),
        (words) => {
          const { text } = sh`printf '%s\0' ${words}`;
          const { stdout } = spawnSync("/bin/sh", ["-c", text], { encoding: "utf8" });
          expect(stdout.split("\0").slice(0, -1)).toEqual(words);
        },
      ),
      { numRuns: 300 },
    );
  });

  it("takes nothing into a command that is no word", () => {
    for (const value of [undefined, null, {}, () => {}, [["a"]], Symbol("a"), "a\0b"])
      expect(() => sh`echo ${value as never}`).toThrow(TypeError);
  });

  it("reads durations, and nothing that is none", () => {
    expect(["90s", "10m", "1h30m", "500ms", "1.5s", 250, "2d"].map(parseDuration)).toEqual([
      90_000, 600_000, 5_400_000, 500, 1_500, 250, 172_800_000,
    ]);
    for (const wrong of ["", "10", "m", "10 m", "-1s", -1, Number.NaN, "99999d", {}, null])
      expect(parseDuration(wrong)).toBeUndefined();
  });

  it("makes values that cannot be changed", () => {
    const one = job({ run: "true" });
    expect(Object.isFrozen(one) && Object.isFrozen(one.options)).toBe(true);
    expect(() => {
      (recipe({ one }).jobs as Record<string, Job>)["two"] = one;
    }).toThrow(TypeError);
  });

  it("knows where a job was written", () => {
    const one = job({ run: "true" });
    expect(one.location?.file).toBe(import.meta.filename);
    expect(JSON.stringify(one)).not.toContain("location");
  });

  it("has types that refuse what it would refuse", () => {
    const one = job({ run: "true" });
    expectTypeOf(one).toEqualTypeOf<Job>();
    expectTypeOf(job).parameter(0).toHaveProperty("needs").toEqualTypeOf<readonly Job[] | undefined>();
    // @ts-expect-error needs are jobs, not their names
    expect(() => job({ run: "true", needs: ["one"] })).toThrow(/list of jobs/);
    // @ts-expect-error there is no such option
    expect(() => job({ run: "true", tiemout: 1 })).toThrow(/no option "tiemout"/);
    // @ts-expect-error run is needed
    expect(() => job({})).toThrow(/run must be/);
    // @ts-expect-error a recipe holds jobs
    expect(() => recipe({ one: "true" })).toThrow(/not a job/);
    // @ts-expect-error an object is no word
    expect(() => sh`${{}}`).toThrow(TypeError);
  });
});

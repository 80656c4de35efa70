import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fingerprintOf } from "../../coordinator/fingerprint.ts";
import { planOf } from "../../coordinator/plan.ts";
import { backoffMs, isTriedAgain, type RetryOptions, retryOf } from "../../coordinator/recipe/retry.ts";
import { job, recipe } from "../../coordinator/recipe/sdk.ts";
import type { Exit } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";

const of = (value: unknown) => retryOf(value, (message) => new Error(message));
const bytes = { stdout: 0, stderr: 0 };
const exited = (code: number): Exit => ({ type: "exit", reason: "exited", code, bytes });
const timedOut: Exit = { type: "exit", reason: "timeout", code: null, signal: "TERM", timeoutMs: 5, bytes };

describe("retry", () => {
  it("tries every failure again, so often", () => {
    const retry = of(2);
    expect([1, 2, 3].map((failures) => isTriedAgain(retry, failures, exited(1)))).toEqual([true, true, false]);
    expect(isTriedAgain(undefined, 1, exited(1))).toBe(false);
    expect(isTriedAgain(of(0), 1, exited(1))).toBe(false);
  });

  it("tries only the failures again that it names", () => {
    const retry = of({ count: 9, on: { codes: [75], reasons: ["timeout"] } });
    expect([exited(75), exited(1), timedOut].map((exit) => isTriedAgain(retry, 1, exit))).toEqual([true, false, true]);
    expect(isTriedAgain(of({ count: 9, on: { codes: [75] } }), 1, timedOut)).toBe(false);
  });

  it("waits twice as long each time, up to a most, and never less than half of it", () => {
    const retry = of({ count: 100, backoff: "2s" });
    expect([1, 2, 3].map((failures) => backoffMs(retry, failures, 1))).toEqual([2_000, 4_000, 8_000]);
    expect(backoffMs(retry, 1, 0)).toBe(1_000);
    expect(backoffMs(of(1), 1, 1)).toBe(limits.retryBackoffMs);
    expect(backoffMs(of({ count: 1, backoff: 0 }), 1, 1)).toBe(0);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 100 }), fc.double({ min: 0, max: 1, noNaN: true }), (failures, random) => {
        const pause = backoffMs(retry, failures, random);
        expect(pause).toBeGreaterThanOrEqual(1_000);
        expect(pause).toBeLessThanOrEqual(limits.retryMostMs);
      }),
    );
    expect(backoffMs(of({ count: 9, backoff: "1h" }), 5, 1)).toBe(3_600_000);
  });

  it("says what is wrong with it", () => {
    const retried = (retry: unknown) => () => job({ run: "true", retry: retry as RetryOptions });
    expect(retried("2")).toThrow(/retry must be a number or an object, not "2"/);
    for (const count of [-1, 1.5, 101, Number.NaN]) expect(retried(count)).toThrow(/whole number from 0 to 100/);
    expect(retried({ count: 1, backof: "1s" })).toThrow(/no option "backof"; did you mean backoff\?/);
    expect(retried({ count: 1, backoff: "soon" })).toThrow(/retry's backoff must be/);
    expect(retried({ count: 1, on: { codes: [0] } })).toThrow(/exit codes from 1 to 255, not 0/);
    expect(retried({ count: 1, on: { reasons: ["timout"] } })).toThrow(/no reason "timout"; did you mean timeout\?/);
    expect(retried({ count: 1, on: {} })).toThrow(/neither codes nor reasons/);
    // @ts-expect-error a lost attempt is tried again by itself
    expect(() => job({ run: "true", retry: { count: 1, on: { reasons: ["lost"] } } })).toThrow(/no reason "lost"/);
  });

  it("is in the plan, and tells a recipe from another", () => {
    const plan = (retry?: number) =>
      planOf({
        path: "/r.ts",
        source: "",
        recipe: recipe({ a: job({ run: "true", ...(retry === undefined ? {} : { retry }) }) }),
      });
    expect(plan(2).jobs[0]?.retry).toEqual({ count: 2, backoffMs: limits.retryBackoffMs });
    expect(plan().jobs[0]).not.toHaveProperty("retry");
    expect(new Set([plan(), plan(1), plan(2)].map(fingerprintOf)).size).toBe(3);
  });
});

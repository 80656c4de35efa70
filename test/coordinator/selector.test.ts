import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fingerprintOf } from "../../coordinator/fingerprint.ts";
import { type Plan, planOf } from "../../coordinator/plan.ts";
import { all, any, job, not, recipe, type Selection } from "../../coordinator/recipe/sdk.ts";
import { type LabelRule, suits } from "../../coordinator/recipe/selector.ts";
import { checkSelectors, describeLabels, describeSelector, fits, selectorKey } from "../../coordinator/selectors.ts";

const plan = (on: Selection): Plan =>
  planOf({ path: import.meta.filename, source: "", recipe: recipe({ one: job({ run: "true", on }) }) });
const selector = (on: Selection) => plan(on).jobs[0]?.on ?? { labels: {} };
const fleet = [
  { name: "w1", labels: { os: "linux", gpu: "a100" } },
  { name: "w2", labels: { os: "linux", gpu: "t4" } },
  { name: "w3", labels: { os: "darwin" } },
  { name: "w4", labels: { os: "linux", gpu: "h100" }, mandatory: ["gpu"] },
];
const fitting = (on: Selection): string[] =>
  fleet.filter((runner) => fits(selector(on), runner)).map(({ name }) => name);

describe("a selector of labels", () => {
  it("takes a value, presence, absence, one of several, and what not, any and all make of them", () => {
    expect(fitting({ gpu: "a100" })).toEqual(["w1"]);
    expect(fitting({ gpu: true })).toEqual(["w1", "w2", "w4"]);
    expect(fitting({ gpu: false })).toEqual(["w3"]);
    expect(fitting({ gpu: ["a100", "h100"] })).toEqual(["w1", "w4"]);
    expect(fitting({ gpu: not("t4") })).toEqual(["w1", "w3"]);
    expect(fitting({ gpu: all(true, not("t4")) })).toEqual(["w1", "w4"]);
    expect(fitting({ gpu: any("t4", false) })).toEqual(["w2", "w3"]);
    expect(fitting({ gpu: not(["t4", "a100"]), os: "darwin" })).toEqual(["w3"]);
  });

  it("keeps a runner with a mandatory label from jobs that do not ask for it, by whatever name", () => {
    expect(fitting({})).toEqual(["w1", "w2", "w3"]);
    expect(fitting({ runner: "w4" })).toEqual([]);
    expect(fitting({ runner: "w4", gpu: true })).toEqual(["w4"]);
    expect(fitting({ os: "linux", gpu: not("a100") })).toEqual(["w2"]);
  });

  it("is turned round by not, and as strong as any and all are", () => {
    const rule = fc.letrec<{ rule: LabelRule }>((tie) => ({
      rule: fc.oneof(
        { maxDepth: 3 },
        fc.constantFrom<LabelRule>("a", "b", true, false),
        tie("rule").map(not),
        fc.array(tie("rule"), { minLength: 1, maxLength: 3 }).map((rules) => any(...rules)),
        fc.array(tie("rule"), { minLength: 1, maxLength: 3 }).map((rules) => all(...rules)),
      ),
    })).rule;
    fc.assert(
      fc.property(rule, rule, fc.constantFrom("a", "b", "c", undefined), (one, other, value) => {
        expect(suits(not(one), value)).toBe(!suits(one, value));
        expect(suits(any(one, other), value)).toBe(suits(one, value) || suits(other, value));
        expect(suits(all(one, other), value)).toBe(suits(one, value) && suits(other, value));
        expect(suits([one, other], value)).toBe(suits(any(one, other), value));
      }),
    );
  });

  it("is told as a person reads it, and told from every other", () => {
    const texts: [Selection, string][] = [
      [{ os: "linux", runner: "w1" }, "runner=w1 os=linux"],
      [{ gpu: true }, "gpu"],
      [{ gpu: false }, "no gpu"],
      [{ gpu: ["a100", "h100"] }, "gpu=a100|h100"],
      [{ gpu: not("t4") }, "gpu!=t4"],
      [{ gpu: all(true, not("t4")) }, "(gpu and gpu!=t4)"],
      [{ gpu: any("t4", false) }, "(gpu=t4 or no gpu)"],
      [{ gpu: not(["a", "b"]) }, "not (gpu=a|b)"],
    ];
    for (const [on, text] of texts) expect(describeSelector(selector(on))).toBe(text);
    expect(new Set(texts.map(([on]) => selectorKey(selector(on)))).size).toBe(texts.length);
    expect(new Set(texts.map(([on]) => fingerprintOf(plan(on)))).size).toBe(texts.length);
    expect(describeLabels(fleet[3] as never)).toBe("os=linux gpu!=h100");
  });

  it("that no runner can be is an error that says what there is, and what may be meant", () => {
    const asked = (on: Selection): unknown => {
      try {
        checkSelectors(plan(on), fleet);
      } catch (error) {
        return error;
      }
      return undefined;
    };
    expect(asked({ gpu: ["a100", "x"] })).toBeUndefined();
    expect(asked({ gpu: all(not("a100"), not("t4"), true), os: "darwin" })).toMatchObject({
      code: "SELECTOR_UNKNOWN",
      message:
        "one asks for (gpu!=a100 and gpu!=t4 and gpu) os=darwin; there is w1 (os=linux gpu=a100), w2 (os=linux gpu=t4), w3 (os=darwin), w4 (os=linux gpu!=h100).",
    });
    expect(asked({ gpo: true })).toMatchObject({ hint: "Did you mean the label gpu?" });
    expect(asked({ os: "linus" })).toMatchObject({ hint: "Did you mean os=linux?" });
    expect(asked({ runner: "w4" })).toMatchObject({ message: expect.stringContaining("w4 (os=linux gpu!=h100)") });
  });

  it("asks for slots too", () => {
    const sized = (slots: number) => ({ name: `w${slots}`, labels: {}, slots });
    const big = planOf({
      path: "/r.ts",
      source: "",
      recipe: recipe({ big: job({ run: "true", slots: 4, priority: 2 }) }),
    });
    expect(big.jobs[0]).toMatchObject({ on: { labels: {}, slots: 4 }, priority: 2 });
    expect([2, 4, 8].map((slots) => fits(big.jobs[0]?.on ?? { labels: {} }, sized(slots)))).toEqual([
      false,
      true,
      true,
    ]);
    expect(() => checkSelectors(big, [sized(1), sized(2)])).toThrow(
      "big asks for 4 slots; there is w1 (no labels, 1 slot), w2 (no labels, 2 slots).",
    );
    expect(fingerprintOf(big)).not.toBe(
      fingerprintOf(planOf({ path: "/r.ts", source: "", recipe: recipe({ big: job({ run: "true" }) }) })),
    );
  });

  it("says at the job's own line what is wrong with it", () => {
    const of = (on: unknown) => () => job({ run: "true", on: on as Selection });
    expect(of([])).toThrow(/on must be an object of labels, not a list/);
    expect(of({ gpu: 1 })).toThrow(/on\.gpu must be a string, true, false, a list .* not 1/);
    expect(of({ gpu: "a b" })).toThrow(/on\.gpu cannot be "a b"/);
    expect(of({ gpu: [] })).toThrow(/on\.gpu has an empty list/);
    expect(of({ gpu: any() })).toThrow(/empty list/);
    expect(of({ gpu: not(["a", 1] as never) })).toThrow(/not 1/);
    expect(of({ gpu: { nto: "a" } })).toThrow(/what not\(\), any\(\) and all\(\) give/);
    expect(of({ runner: ["a"] })).toThrow(/on\.runner must be a runner's name/);
    // @ts-expect-error a rule is no number
    expect(() => job({ run: "true", on: { gpu: not(1) } })).toThrow(/not 1/);
  });
});

import { describe, expect, it } from "vitest";
import { askOn, parseOn } from "../../coordinator/ask-on.ts";
import { planOf } from "../../coordinator/plan.ts";
import { type Jobs, job, not, recipe } from "../../coordinator/recipe/sdk.ts";

const plan = (jobs: Jobs) => planOf({ path: import.meta.filename, recipe: recipe(jobs), source: "" });

describe("--on", () => {
  it("is a label and its value, or a runner's name, given once", () => {
    expect(parseOn(["os=linux", "zone=a=b".slice(0, 6), "runner=w1", "os=linux"])).toEqual({
      os: "linux",
      zone: "a",
      runner: "w1",
    });
    for (const wrong of ["os", "=linux", "runner=", "os=a b", "constructor=x", "-x=1"])
      expect(() => parseOn([wrong]), wrong).toThrow(
        `--on takes LABEL=VALUE, or runner=NAME, not ${JSON.stringify(wrong)}`,
      );
    expect(() => parseOn(["os=linux", "os=darwin"])).toThrow("no runner is both");
  });

  it("is added to every job, beside what each asks for", () => {
    const { jobs } = askOn(
      plan({
        any: job({ run: "true" }),
        gpu: job({ on: { gpu: true, os: ["linux", "darwin"] }, slots: 2, run: "true" }),
        named: job({ on: { runner: "w1" }, run: "true" }),
      }),
      { os: "linux", runner: "w1" },
    );
    expect(jobs.map(({ on }) => on)).toEqual([
      { labels: { os: "linux" }, runner: "w1" },
      { labels: { gpu: true, os: "linux" }, runner: "w1", slots: 2 },
      { labels: { os: "linux" }, runner: "w1" },
    ]);
  });

  it("is an error where a job asks for something else, and names the job", () => {
    const refused = (jobs: Jobs, ...on: string[]) => expect(() => askOn(plan(jobs), parseOn(on)));
    refused({ any: job({ run: "true" }), mac: job({ on: { os: "darwin" }, run: "true" }) }, "os=linux").toThrow(
      "--on os=linux cannot be for mac, which asks for os=darwin.",
    );
    refused({ arm: job({ on: { arch: not("x64") }, run: "true" }) }, "arch=x64").toThrow(
      "arm, which asks for arch!=x64",
    );
    refused({ one: job({ on: { runner: "w2" }, run: "true" }) }, "runner=w1").toThrow("one, which asks for runner=w2");
  });
});

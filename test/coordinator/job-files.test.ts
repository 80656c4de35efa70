// Options of a job that name what is not in its commands: secrets, stdin, inputs, outputs.
import { describe, expect, it } from "vitest";
import { fingerprintOfJob } from "../../coordinator/fingerprint.ts";
import { type PlanJob, planOf } from "../../coordinator/plan.ts";
import { type JobOptions, job, recipe, secret, sh } from "../../coordinator/recipe/sdk.ts";
import { renderPlan } from "../../coordinator/views/plan.ts";
import { planDocument } from "../../coordinator/views/plan-document.ts";

const planned = (options: Partial<JobOptions>) =>
  planOf({
    path: "/recipes/ci.ts",
    source: "",
    recipe: recipe({ one: job({ run: "true", ...options }) }),
  });
const one = (options: Partial<JobOptions>): PlanJob => planned(options).jobs[0] as PlanJob;
const wrong = (options: object) => expect(() => job({ run: "true", ...options }));

describe("a secret", () => {
  const options: Partial<JobOptions> = {
    env: { PLAIN: "1", TOKEN: secret("CI_TOKEN") },
    container: {
      image: "alpine:3",
      services: { db: { image: "postgres:17", env: { PASSWORD: secret("DB"), USER: "me" } } },
    },
  };

  it("is in plans by its name", () => {
    expect(planDocument(planned(options)).jobs[0]).toMatchObject({
      variables: ["PLAIN"],
      secrets: [
        { name: "TOKEN", from: "CI_TOKEN" },
        { name: "PASSWORD", from: "DB", service: "db" },
      ],
    });
    expect(renderPlan(planned(options))).toContain("gets the secrets CI_TOKEN, DB");
    expect(fingerprintOfJob(one(options))).not.toBe(fingerprintOfJob(one({ ...options, env: { PLAIN: "1" } })));
  });

  it("is no text, and has a variable's name", () => {
    const token = secret("CI_TOKEN");
    expect(() => `${token}`).toThrow("The secret CI_TOKEN is no text");
    expect(() => sh`echo ${token as never}`).toThrow();
    expect(() => JSON.stringify({ token })).toThrow("The secret CI_TOKEN is no text");
    expect(() => String(token)).toThrow("The secret CI_TOKEN is no text");
    expect(() => secret("a b")).toThrow("secret() takes the name of an environment variable");
    wrong({ env: { SORTIE_A: token } }).toThrow(/env has a wrong entry: .*SORTIE_/);
    wrong({ env: { "A B": "1" } }).toThrow(/env has a wrong entry: a variable's name/);
  });
});

describe("stdin", () => {
  it("is a text, or a file beside the recipe; of one command", () => {
    expect(one({ stdin: "yes\n" }).stdin).toBe("yes\n");
    expect(one({ stdin: { file: "data/in.sql" } }).stdin).toEqual({ file: "/recipes/data/in.sql" });
    expect(planDocument(planned({ stdin: "né" })).jobs[0]).toMatchObject({ stdin: { bytes: 3 } });
    expect(fingerprintOfJob(one({ stdin: "a" }))).not.toBe(fingerprintOfJob(one({ stdin: "b" })));
    wrong({ run: [sh`a`, sh`b`], stdin: "x" }).toThrow("stdin is for a job of one command");
    wrong({ run: async () => {}, stdin: "x" }).toThrow("stdin is for a job of one command");
    wrong({ stdin: "x".repeat(1024 * 1024 + 1) }).toThrow("write it to a file");
    wrong({ stdin: { path: "x" } }).toThrow(/stdin has no option "path"/);
    wrong({ stdin: 3 }).toThrow(/stdin must be a string, \{ file/);
  });
});

describe("outputs and inputs", () => {
  it("are globs within the job's directory, and beside the recipe", () => {
    const options = {
      outputs: { dist: "dist/**", report: ["junit.xml", "coverage/**"] },
      inputs: ["src/**", "../lib"],
    };
    expect(planDocument(planned(options)).jobs[0]).toMatchObject({
      outputs: { dist: ["dist/**"], report: ["junit.xml", "coverage/**"] },
      inputs: ["src/**", "../lib"],
    });
    expect(renderPlan(planned(options))).toContain("makes dist, report");
    wrong({ outputs: { "a b": "x" } }).toThrow(/outputs has a name that cannot be/);
    for (const glob of ["/etc/passwd", "../x", "a/../../b", "", 3, []])
      wrong({ outputs: { a: glob } }).toThrow(/outputs\.a must/);
    for (const glob of ["/etc", "", 3]) wrong({ inputs: [glob] }).toThrow(/inputs must be globs/);
    wrong({ inputs: "src" }).toThrow(/inputs must be a list/);
    // What is looked at does not change what the job does; what it makes does.
    const print = (more: Partial<JobOptions>): string => fingerprintOfJob(one(more));
    expect(print({ inputs: ["src"] })).toBe(print({}));
    expect(print({ outputs: { a: "b" } })).not.toBe(print({}));
  });
});

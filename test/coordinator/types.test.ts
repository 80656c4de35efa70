// What the compiler holds of recipes. Most of it is `tsc -p .`: a line that it must refuse has an @ts-expect-error, which
// fails where the line compiles. Nothing of the jobs runs here; that they can be described is tested with it.
import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import type { JobResult } from "../../coordinator/recipe/result.ts";
import {
  type CommandResult,
  type Job,
  job,
  type Matrix,
  matrix,
  type RecipeWithParams,
  recipe,
  type Secret,
  type Shell,
  secret,
  sh,
} from "../../coordinator/recipe/sdk.ts";

const build = job({ run: "npm run build" });
const version = job({ run: "git describe", output: "text" });
const names = job({ run: "ls", output: "lines" });
const anything = job({ run: "cat x.json", output: "json" });
const described = job({ run: "cat package.json", output: v.object({ name: v.string() }) });

describe("the output of a job, for the compiler", () => {
  it("is what the option says for commands", () => {
    expectTypeOf(build).toEqualTypeOf<Job<undefined>>();
    expectTypeOf(version).toEqualTypeOf<Job<string>>();
    expectTypeOf(names).toEqualTypeOf<Job<readonly string[]>>();
    expectTypeOf(anything).toEqualTypeOf<Job<unknown>>();
    expectTypeOf(described).toEqualTypeOf<Job<{ name: string }>>();
    const ofZod = job({ run: "x", output: z.object({ port: z.number().transform(String) }) });
    expectTypeOf(ofZod).toEqualTypeOf<Job<{ port: string }>>();
    const ofArktype = job({ run: "x", output: type({ "tags?": "string[]" }) });
    expectTypeOf(ofArktype).toEqualTypeOf<Job<{ tags?: string[] }>>();
  });

  it("is what a function gives", () => {
    expectTypeOf(job({ run: async ({ $ }) => $`x`.text() })).toEqualTypeOf<Job<string>>();
    expectTypeOf(job({ run: ({ $ }) => $`x`.json(v.object({ a: v.number() })) })).toEqualTypeOf<Job<{ a: number }>>();
    expectTypeOf(job({ run: async ({ $ }) => void (await $`x`) })).toEqualTypeOf<Job<undefined>>();
  });

  it("is the results of jobs that a function gives", () => {
    const more = job({ run: async () => ({ one: job({ run: async () => 3 }), two: version }) });
    job({
      needs: [more],
      run: ({ needs: [given] }) => {
        expectTypeOf(given.output.one.output).toEqualTypeOf<3>();
        expectTypeOf(given.output.two.output).toEqualTypeOf<string>();
        // @ts-expect-error: it gave no such job
        given.output.three;
      },
    });
    const many = job({ run: async () => Object.fromEntries(["a"].map((name) => [name, job({ run: async () => 3 })])) });
    job({
      needs: [many],
      run: ({ needs: [given] }) => expectTypeOf(given.output["a"]?.output).toEqualTypeOf<3 | undefined>(),
    });
  });

  it("may lack where the job may fail, and for a job that always runs", () => {
    expectTypeOf(job({ allowFailure: true, run: async () => "x" })).toEqualTypeOf<Job<"x" | undefined>>();
    job({
      needs: [version],
      always: true,
      run: ({ needs: [one] }) => expectTypeOf(one.output).toEqualTypeOf<string | undefined>(),
    });
  });

  it("is refused where it cannot be", () => {
    // @ts-expect-error: no such output
    expect(() => job({ run: "x", output: "yaml" })).toThrow(/output must be/);
    // @ts-expect-error: no schema
    expect(() => job({ run: "x", output: {} })).toThrow(/output must be/);
  });
});

describe("what a job needs, for the compiler", () => {
  it("comes to its function in the same order", () => {
    job({
      needs: [version, described, build],
      run: ({ needs }) => {
        const [one, two, three] = needs;
        expectTypeOf(one).toEqualTypeOf<JobResult<string>>();
        expectTypeOf(two.output.name).toEqualTypeOf<string>();
        expectTypeOf(three.output).toEqualTypeOf<undefined>();
        // @ts-expect-error: it needs three
        needs[3];
        // @ts-expect-error: a text is no number
        const wrong: number = one.output;
        // @ts-expect-error: the schema has no such field
        two.output.nome;
        return wrong;
      },
    });
  });

  it("is by cell for a matrix", () => {
    const cells = matrix({ node: ["24", "26"], dry: [true] }, ({ node, dry }) => {
      expectTypeOf(node).toEqualTypeOf<"24" | "26">();
      expectTypeOf(dry).toEqualTypeOf<true>();
      return job({ run: async () => node });
    });
    expectTypeOf(cells).toEqualTypeOf<Matrix<"24" | "26">>();
    job({
      needs: [cells],
      run: ({ needs: [all] }) => expectTypeOf(all["node=24"]?.output).toEqualTypeOf<"24" | "26" | undefined>(),
    });
    // @ts-expect-error: the matrix has no such axis
    matrix({ node: ["24"] }, ({ nodes }) => job({ run: `x ${nodes}` }));
    // @ts-expect-error: the axis has no such value
    expect(() => matrix({ node: ["24"] }, () => job({ run: "x" }), { exclude: [{ node: "25" }] })).toThrow(/25/);
    // @ts-expect-error: a cell is given no job
    expect(() => matrix({ node: ["24"] }, () => "x")).toThrow(/must give what job\(\) gave/);
  });

  it("is jobs, by value", () => {
    // @ts-expect-error: a name is no job
    expect(() => job({ needs: ["build"], run: "x" })).toThrow(/needs/);
    // @ts-expect-error: a list of jobs
    expect(() => job({ needs: build, run: "x" })).toThrow(/needs/);
    // @ts-expect-error: what was never written
    expect(() => job({ needs: [undefined], run: "x" })).toThrow(/needs/);
  });
});

describe("the options of a job, for the compiler", () => {
  it("are those that there are", () => {
    // @ts-expect-error: no such option
    expect(() => job({ run: "x", timeoutt: 3 })).toThrow(/timeoutt/);
    // @ts-expect-error: no such option, beside a function
    expect(() => job({ run: async () => 3, need: [build] })).toThrow(/need/);
    // @ts-expect-error: a number runs nothing
    expect(() => job({ run: 3 })).toThrow(/run/);
    // @ts-expect-error: something must run
    expect(() => job({ on: { os: "linux" } })).toThrow(/run/);
    // @ts-expect-error: a variable is a text
    expect(() => job({ run: "x", env: { A: 1 } })).toThrow(/env/);
  });

  it("have a condition that sees what came of needs, the environment and the params", () => {
    job({
      needs: [version],
      run: sh`x`,
      if: ({ needs: [one], env, params }) => {
        expectTypeOf(one.output).toEqualTypeOf<string>();
        expectTypeOf(env["CI"]).toEqualTypeOf<string | undefined>();
        expectTypeOf(params["dry"]).toBeUnknown();
        return one.output === "x";
      },
    });
    // @ts-expect-error: a text is never 3
    job({ needs: [version], run: sh`x`, if: ({ needs: [one] }) => one.output === 3 });
    // @ts-expect-error: a condition gives true or false
    job({ run: sh`x`, if: () => "yes" });
    // @ts-expect-error: and is asked when the job could start, not before
    expect(() => job({ run: sh`x`, if: true })).toThrow(/if must be a function/);
  });

  it("name other places, which its function has by those names", () => {
    job({
      also: { source: { on: { db: "prod" } }, sink: {} },
      run: async ({ $, also }) => {
        expectTypeOf(also.source).toEqualTypeOf<Shell>();
        expectTypeOf(also.sink).toEqualTypeOf<Shell>();
        // @ts-expect-error: no such place
        also.nothing;
        expectTypeOf(await also.source`x`.pipe($`y`)).toEqualTypeOf<CommandResult>();
      },
    });
    job({
      run: ({ also }) => {
        // @ts-expect-error: it has none
        also.source;
      },
    });
    // @ts-expect-error: a place has no such option
    expect(() => job({ also: { source: { timeout: "1m" } }, run: async () => {} })).toThrow(/also.source/);
  });

  it("give a function a $ that takes words alone", () => {
    job({
      run: async ({ $ }) => {
        $`x ${"a"} ${1} ${true} ${["a", 2]}`;
        // @ts-expect-error: nothing is no word
        $`x ${undefined}`;
        // @ts-expect-error: an object is no word
        $`x ${{ a: 1 }}`;
        // @ts-expect-error: what a command came to is no word: .text() is
        $`x ${await $`y`}`;
        // @ts-expect-error: a text is neither a template nor a list
        $("x");
        // @ts-expect-error: a variable is a text
        $`x`.env({ A: undefined });
        // @ts-expect-error: a pipe goes to a command
        $`x`.pipe("y");
      },
    });
  });
});

describe("the params of a recipe, for the compiler", () => {
  const params = v.object({ node: v.string(), count: v.optional(v.number(), 1) });

  it("are what their schema makes", () => {
    const made = recipe({
      params,
      env: { node: "NODE" },
      jobs: ({ node, count }) => {
        expectTypeOf(node).toEqualTypeOf<string>();
        expectTypeOf(count).toEqualTypeOf<number>();
        return { one: job({ run: node }) };
      },
    });
    expectTypeOf(made).toEqualTypeOf<RecipeWithParams<typeof params>>();
  });

  it("are those that the schema has", () => {
    // @ts-expect-error: no such param
    recipe({ params, jobs: ({ nodee }) => ({ one: job({ run: String(nodee) }) }) });
    // @ts-expect-error: no such param
    recipe({ params, env: { nodee: "NODE" }, jobs: ({ node }) => ({ one: job({ run: node }) }) });
    // @ts-expect-error: jobs are what job() gives
    recipe({ params, jobs: ({ node }) => ({ one: node }) });
    // @ts-expect-error: jobs are what job() gives
    expect(() => recipe({ one: "x" })).toThrow(/not a job/);
  });
});

it("a secret is what options take, and never a text", () => {
  const token = secret("TOKEN");
  job({ run: "true", env: { TOKEN: token, PLAIN: "1" }, secrets: [token], stdin: token });
  job({ run: async ({ $ }) => $`true`, secrets: [token], also: { other: { secrets: [token] } } });
  expectTypeOf(secret({ name: "KEY", file: "key.pem" })).toEqualTypeOf<Secret>();
  expectTypeOf(secret({ command: ["op", "read", "op://ci/token"] })).toEqualTypeOf<Secret>();
  expectTypeOf(secret({ env: "CI_TOKEN", name: "TOKEN" })).toEqualTypeOf<Secret>();
  expect(() => {
    // @ts-expect-error: no text
    job({ run: ["deploy", token] });
  }).toThrow();
  expect(() => {
    // @ts-expect-error: a command is argv
    secret({ command: "op read x" });
  }).toThrow();
  expect(() => {
    // @ts-expect-error: a list
    job({ run: "true", secrets: { KEY: token } });
  }).toThrow();
});

import { type } from "arktype";
import * as v from "valibot";
import { describe, expect, expectTypeOf, it } from "vitest";
import { z } from "zod";
import { type GivenParam, givenParams } from "../../coordinator/given-params.ts";
import { validateParams, withEnvironment } from "../../coordinator/recipe/params.ts";
import { recipeOf } from "../../coordinator/recipe/recipe.ts";
import { isSchema, type StandardSchema } from "../../coordinator/recipe/schema.ts";
import { fieldsOf } from "../../coordinator/recipe/schema-fields.ts";
import { job, recipe } from "../../coordinator/recipe/sdk.ts";
import { limits } from "../../protocol/limits.ts";

const given = (texts: Record<string, string>, from: GivenParam["from"] = "option"): GivenParam[] =>
  Object.entries(texts).map(([key, text]) => ({ key, text, from }));
const made = (schema: StandardSchema, texts: Record<string, string>, from?: GivenParam["from"]): Promise<unknown> =>
  validateParams(schema, given(texts, from), { file: "/r.ts", line: 3, column: 1 });

const libraries: Record<string, StandardSchema> = {
  valibot: v.object({
    count: v.optional(v.pipe(v.number(), v.maxValue(5)), 3),
    dry: v.optional(v.boolean()),
    node: v.string(),
    tags: v.optional(v.array(v.string())),
  }),
  zod: z.object({
    count: z.number().max(5).default(3),
    dry: z.boolean().optional(),
    node: z.string(),
    tags: z.array(z.string()).optional(),
  }),
  arktype: type({ count: "number <= 5 = 3", "dry?": "boolean", node: "string", "tags?": "string[]" }),
};

describe.each(Object.entries(libraries))("params by a schema of %s", (_name, schema) => {
  it("are the text where the schema takes it, and else what it is as JSON", async () => {
    expect(isSchema(schema)).toBe(true);
    expect(await made(schema, { node: "24" })).toEqual({ node: "24", count: 3 });
    expect(await made(schema, { node: "true", count: "4", dry: "true", tags: '["a"]' })).toEqual({
      node: "true",
      count: 4,
      dry: true,
      tags: ["a"],
    });
  });

  it("that the schema does not know are errors, with the one that may be meant", async () => {
    await expect(made(schema, { node: "24", cuont: "1" })).rejects.toMatchObject({
      code: "RECIPE_PARAMS",
      message: 'The recipe has no param "cuont"; did you mean count?',
      at: { file: "/r.ts", line: 3 },
    });
    await expect(made(schema, { node: "24", other: "1" })).rejects.toThrow(/no param "other"; it has .*node/);
    await expect(made(schema, { node: "24", constructor: "1" })).rejects.toThrow(/no param "constructor"/);
  });

  it("are refused with the key, the value and the rule", async () => {
    await expect(made(schema, { node: "24", count: "9" })).rejects.toThrow(/: count="9": .*5/);
    await expect(made(schema, { node: "24", count: "many" })).rejects.toThrow(/: count="many": .*number/);
    await expect(made(schema, {})).rejects.toThrow(/: node is not given: /);
  });

  it("are refused without the value where that came from a file or the environment", async () => {
    for (const from of ["file", "environment"] as const)
      for (const secret of ["hunter2", '{"a":"hunter2"}', '["hunter2"]', "77777"]) {
        const error = await made(schema, { node: "24", count: secret }, from).catch((thrown: Error) => thrown);
        expect((error as Error).message).toContain(`count (from the ${from === "file" ? "file given" : from})`);
        expect((error as Error).message).not.toMatch(/hunter2|77777/);
      }
  });

  it("are told by its fields", () => {
    const fields = fieldsOf(schema);
    expect(fields?.map(({ key }) => key).sort()).toEqual(["count", "dry", "node", "tags"]);
    expect(fields?.find(({ key }) => key === "node")).toMatchObject({ type: "string", required: true });
    expect(fields?.find(({ key }) => key === "dry")).toMatchObject({ type: "boolean", required: false });
  });
});

describe("params", () => {
  it("wait for a schema that is asynchronous", async () => {
    const schema = v.objectAsync({
      name: v.pipeAsync(
        v.string(),
        v.checkAsync(async (name) => name !== "taken", "it is taken"),
      ),
    });
    expect(await made(schema, { name: "free" })).toEqual({ name: "free" });
    await expect(made(schema, { name: "taken" })).rejects.toThrow('name="taken": it is taken.');
  });

  it("of a schema that does not tell its keys are those that it passes on", async () => {
    const schema: StandardSchema = {
      "~standard": { version: 1, vendor: "own", validate: (value) => ({ value: { a: (value as { a: string }).a } }) },
    };
    expect(fieldsOf(schema)).toBeUndefined();
    expect(await made(schema, { a: "1" })).toEqual({ a: "1" });
    await expect(made(schema, { a: "1", b: "2" })).rejects.toThrow('The recipe has no param "b".');
  });

  it("may have other names in what the schema makes of them", async () => {
    const schema = v.pipe(
      v.object({ n: v.number() }),
      v.transform(({ n }) => ({ count: n })),
    );
    expect(await made(schema, { n: "2" })).toEqual({ count: 2 });
  });

  it("have the names of a schema of zod that JSON Schema cannot express", () => {
    expect(fieldsOf(z.object({ day: z.date() }))).toEqual([{ key: "day" }]);
  });

  it("come from the environment only where the command line does not give them", () => {
    const all = withEnvironment(
      given({ a: "1" }),
      { a: "VAR_A", b: "VAR_B", c: "VAR_C" },
      { VAR_A: "x", VAR_B: "2" },
      undefined,
    );
    expect(all).toEqual([...given({ a: "1" }), { key: "b", text: "2", from: "environment" }]);
    const long = { A: "x".repeat(limits.paramBytes + 1) };
    expect(() => withEnvironment([], { a: "A" }, long, undefined)).toThrow(/longer than/);
  });

  it("are read from the command line, each once", () => {
    expect(givenParams({ set: ["a=1", "b=x=y"], "set-file": undefined })).toEqual(given({ a: "1", b: "x=y" }));
    expect(() => givenParams({ set: "a", "set-file": undefined })).toThrow(/--set takes KEY=VALUE, not "a"/);
    expect(() => givenParams({ set: "=1", "set-file": undefined })).toThrow(/KEY=VALUE/);
    expect(() => givenParams({ set: ["a=1", "a=2"], "set-file": undefined })).toThrow(/a is given twice/);
    expect(() => givenParams({ set: undefined, "set-file": "a=/no/such" })).toThrow(/\/no\/such cannot be read/);
  });
});

describe("a recipe with params", () => {
  const schema = v.object({ node: v.string(), count: v.optional(v.number(), 1) });

  it("makes its jobs of them, and knows their types", () => {
    const made = recipe({
      params: schema,
      env: { node: "NODE_WANTED" },
      jobs: (params) => {
        expectTypeOf(params).toEqualTypeOf<{ node: string; count: number }>();
        return { [`test-${params.node}`]: job({ run: "true" }) };
      },
    });
    expect(Object.keys(recipeOf(made, { node: "24", count: 1 }).jobs)).toEqual(["test-24"]);
    // @ts-expect-error a variable stands for a param that the schema has
    recipe({ params: schema, env: { other: "X" }, jobs: () => ({}) });
    // @ts-expect-error there is no such param
    recipe({ params: schema, jobs: ({ other }) => ({ [other]: job({ run: "true" }) }) });
    const counted = (n: number): Record<string, never> => ({ ...(Number.isNaN(n) && {}) });
    recipe({ params: type({ n: "number" }), jobs: ({ n }) => counted(n satisfies number) });
    recipe({ params: z.object({ n: z.number() }), jobs: ({ n }) => counted(n satisfies number) });
  });

  it("is told from one whose jobs have such names", () => {
    const one = job({ run: "true" });
    expect(recipe({ params: one, jobs: job({ run: "true" }) })).toHaveProperty("jobs.params", one);
  });

  it("says what is wrong with it", () => {
    const of = (options: unknown) => () => recipe(options as never);
    expect(of({ params: {}, jobs: () => ({}) })).toThrow(/params must be a schema/);
    expect(of({ params: schema, jobs: {} })).toThrow(/jobs must be a function/);
    expect(of({ params: schema, job: () => ({}) })).toThrow(/no option "job"; did you mean jobs\?/);
    expect(of({ params: schema, env: { node: 1 }, jobs: () => ({}) })).toThrow(/env\.node must be a string/);
    expect(() => recipeOf(recipe({ params: schema, jobs: () => ({ a: 1 }) as never }), {})).toThrow(/"a" is not a job/);
  });
});

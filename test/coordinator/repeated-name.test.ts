import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { transform } from "esbuild";
import { array, assert, asyncProperty, constantFrom, letrec, oneof, option, record } from "fast-check";
import { describe, expect, it } from "vitest";
import { mayRepeatName } from "../../coordinator/recipe/repeated-name.ts";

const recipes = join(import.meta.dirname, "../../recipes");

describe("a look for names that stand twice", () => {
  for (const [what, source] of Object.entries({
    "in one object": "x({ a: 1, b: 2, a: 3 })",
    "of which one is quoted": `x({ a: 1, "a": 2 })`,
    "of which one is short": "x({ a, a: 2 })",
    "of which one is a method": "x({ a: 1, async *a() {} })",
    "behind a template with an object in it": "x({ a: `${y({ b: `}` })}`, a: 2 })",
    "behind strings and comments that hold brackets": `x({ a: "}", /* } */ b: '{', // }\n a: 2 })`,
    "behind a regular expression": "x({ a: /[}'\"]/, a: 2 })",
    "of which one is written with an escape": `x({ a: 1, "\\x61": 2 })`,
    "as numbers": "x({ 1: 1, 0x1: 2 })",
    "of which one is computed": `x({ a: 1, ["a"]: 2 })`,
  })) {
    it(`finds names ${what}`, () => {
      expect(mayRepeatName(source)).toBe(true);
    });
  }

  it("is sure of ordinary recipes", () => {
    const sure = readdirSync(recipes).filter(
      (name) => name.endsWith(".ts") && !mayRepeatName(readFileSync(join(recipes, name), "utf8")),
    );
    expect(sure).toContain("hello.ts");
    expect(sure).toContain("ci.ts");
    const job = `job({ run: ["a", "b"], env: { A: \`\${x} }\` }, needs: [a, b], on: { os: "linux" } })`;
    expect(
      mayRepeatName(`const f = (a: number) => { g(a); g(a); };\nexport default recipe({ a: ${job}, b: ${job} });`),
    ).toBe(false);
  });

  it("takes no time for comments that could be cut in many ways, and none for what is too long for it", () => {
    for (const comments of ["/".repeat(10_000), "/**/".repeat(10_000), "/***".repeat(10_000)])
      expect(mayRepeatName(`const a = { b ${comments}\n;`)).toBe(true);
    expect(mayRepeatName(`const a = "${"a".repeat(10_000_000)}";`)).toBe(true);
  });

  it("never says no where esbuild finds one", async () => {
    const name = constantFrom("a", "b", `"a"`, "'b'", `"\\x61"`, "1", "0x1", "get a", "async b", `["a"]`);
    const gap = constantFrom("", " ", "\n", "/* } a: { */", "// { ' a:\n");
    const { value } = letrec((tie) => ({
      value: oneof(
        { maxDepth: 4 },
        constantFrom(
          "1",
          `"}"`,
          `'{"'`,
          "`{`",
          "`\\``",
          "/}['\"]/",
          "a / 2",
          "() => { a; a; }",
          "[{}]",
          "function () {}",
        ),
        tie("object"),
        tie("object").map((object) => `\`\${ y(${object}) } } {\``),
        tie("object").map((object) => `y(${object}, [${object}])`),
      ),
      object: array(
        record({
          name,
          before: gap,
          between: gap,
          value: tie("value"),
          method: option(constantFrom("() { a }"), { freq: 6 }),
        }),
        { maxLength: 4 },
      ).map(
        (members) =>
          `{${members
            .map(({ name, before, between, value, method }) =>
              method === null && !/^(?:get|async) /.test(name)
                ? `${before}${name}${between}: ${value as string}`
                : `${before}${name}${between}${method ?? "() { a }"}`,
            )
            .join(",")}}`,
      ),
    }));
    let found = 0;
    await assert(
      asyncProperty(value, async (text) => {
        const source = `const a = 1, b = 2, y = (...x) => x;\nexport default y(${text as string});`;
        const { warnings } = await transform(source, { loader: "ts", logLevel: "silent" });
        if (!warnings.some(({ id }) => id === "duplicate-object-key")) return;
        found++;
        expect(mayRepeatName(source), source).toBe(true);
      }),
      { numRuns: 2_000 },
    );
    expect(found).toBeGreaterThan(100);
  });
});

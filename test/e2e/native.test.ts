// Recipes that Node loads alone, and those that are left to tsx: each comes to the same.
import { mkdirSync, readFileSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Rig, root } from "../rig/rig.ts";

const imports = `import { job, recipe } from "sortie";\n`;
/** tsx turns source maps on. */
const ends = `
const by = process.sourceMapsEnabled ? "tsx" : "node";
export default recipe({ a: job({ run: ["echo", "loaded by " + by, String(value)] }) });`;

interface Case {
  readonly files: Readonly<Record<string, string>>;
  readonly by: "node" | "tsx";
}

const helper = { "helper.ts": "export const value: number = 7;\nexport interface Some {}" };
const esm = { "package.json": '{ "type": "module" }' };

const cases: Readonly<Record<string, Case>> = {
  "types, and a helper": {
    by: "node",
    files: {
      ...esm,
      ...helper,
      "recipe.ts": `import { value, type Some } from "./helper.ts";\nconst x: Some = {}; void x;`,
    },
  },
  "settings that Node follows as well": {
    by: "node",
    files: {
      ...esm,
      ...helper,
      "tsconfig.json": '{ "compilerOptions": { "target": "es2024", "strict": true } }',
      "recipe.ts": `import { value } from "./helper.ts";`,
    },
  },
  "JSON, by its attribute": {
    by: "node",
    files: { ...esm, "value.json": "7", "recipe.ts": `import value from "./value.json" with { type: "json" };` },
  },
  "top-level await": { by: "node", files: { ...esm, "recipe.ts": "const value = await Promise.resolve(7);" } },
  "plain JavaScript": { by: "node", files: { "recipe.mjs": "const value = 7;" } },
  "an enum": { by: "tsx", files: { ...esm, "recipe.ts": "enum Some { value = 7 }\nconst { value } = Some;" } },
  "a helper with a namespace": {
    by: "tsx",
    files: {
      ...esm,
      "helper.ts": "export namespace Some { export const value = 7; }",
      "recipe.ts": `import { Some } from "./helper.ts";\nconst { value } = Some;`,
    },
  },
  "an import without its extension": {
    by: "tsx",
    files: { ...esm, ...helper, "recipe.ts": `import { value } from "./helper";` },
  },
  "an import of what will be built": {
    by: "tsx",
    files: { ...esm, ...helper, "recipe.ts": `import { value } from "./helper.js";` },
  },
  "an import that is made later": {
    by: "tsx",
    files: { ...esm, ...helper, "recipe.ts": `const { value } = await import("./helper");` },
  },
  "an import that a helper makes later": {
    by: "tsx",
    files: {
      ...esm,
      ...helper,
      "later.ts": `export const { value } = await import("./helper");`,
      "recipe.ts": `import { value } from "./later.ts";`,
    },
  },
  "a type that is imported as a value": {
    by: "tsx",
    files: {
      ...esm,
      ...helper,
      "recipe.ts": `import { value, Some } from "./helper.ts";\nconst x: Some = {}; void x;`,
    },
  },
  "JSON as tsx has it": {
    by: "tsx",
    files: { ...esm, "value.json": "7", "recipe.ts": `import value from "./value.json";` },
  },
  paths: {
    by: "tsx",
    files: {
      ...esm,
      "source/helper.ts": helper["helper.ts"],
      "tsconfig.json": '{ "compilerOptions": { "paths": { "#/*": ["./source/*"] } } }',
      "recipe.ts": `import { value } from "#/helper";`,
    },
  },
  "settings from another file": {
    by: "tsx",
    files: {
      ...esm,
      "source/helper.ts": helper["helper.ts"],
      "base.json": '{ "compilerOptions": { "paths": { "#/*": ["./source/*"] } } }',
      "tsconfig.json": '{ "extends": "./base.json" }',
      "recipe.ts": `import { value } from "#/helper";`,
    },
  },
  "paths that are the names of packages": {
    by: "tsx",
    files: {
      ...esm,
      "mine.ts": helper["helper.ts"],
      "tsconfig.json": '{ "compilerOptions": { "paths": { "valibot": ["./mine.ts"] } } }',
      "recipe.ts": `import { value } from "valibot";`,
    },
  },
  "a package that says nothing of its modules": {
    by: "node",
    files: { "package.json": "{}", ...helper, "recipe.ts": `import { value } from "./helper.ts";` },
  },
  CommonJS: { by: "tsx", files: { ...esm, "recipe.cts": "const value = 7;" } },
  "require, in a package that says nothing of its modules": {
    by: "tsx",
    files: { "package.json": "{}", ...helper, "recipe.ts": `const { value } = require("./helper");` },
  },
};

describe("coordinator run", () => {
  let rig: Rig;
  beforeAll(() => {
    rig = new Rig();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  /** The recipe's path, in a project of its own. */
  function project(name: string, files: Readonly<Record<string, string>>): string {
    const folder = join(realpathSync(rig.folder), name.replaceAll(/\W/g, "-"));
    mkdirSync(join(folder, "node_modules"), { recursive: true });
    symlinkSync(root, join(folder, "node_modules/sortie"));
    symlinkSync(join(root, "node_modules/valibot"), join(folder, "node_modules/valibot"));
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    return join(folder, Object.keys(files).find((path) => path.startsWith("recipe.")) ?? "");
  }

  for (const [what, { files, by }] of Object.entries(cases)) {
    it(`loads a recipe with ${what}, by ${by === "tsx" ? "tsx" : "Node alone"}`, async () => {
      const whole = Object.entries(files).map(([path, text]) => [
        path,
        path.startsWith("recipe.") ? imports + text + ends : text,
      ]);
      const { code, text } = await rig.coordinator(["run", project(what, Object.fromEntries(whole))]);
      expect(text).toContain(`│ loaded by ${by} 7\n`);
      expect(code).toBe(0);
    });
  }

  it("runs a recipe once that throws in its middle, and says where", async () => {
    const path = project("throws", {
      ...esm,
      "recipe.ts": `${imports}import { appendFileSync } from "node:fs";
appendFileSync(import.meta.dirname + "/ran", "x");
const deep: { value?: () => void } = {};
deep.value!();
export default recipe({ a: job({ run: "true" }) });`,
    });
    const { code, stderr } = await rig.coordinator(["run", path]);
    expect(code).toBe(2);
    expect(stderr).toContain("error[RECIPE_THREW]: The recipe threw TypeError: deep.value is not a function.");
    expect(stderr).toContain(`at ${path}:5:6\n`);
    expect(readFileSync(join(dirname(path), "ran"), "utf8")).toBe("x");
  });

  it("runs nothing of a recipe with an import that nobody can resolve, and says which", async () => {
    const path = project("unresolved", {
      ...esm,
      "side.ts": `import { appendFileSync } from "node:fs";\nappendFileSync(import.meta.dirname + "/ran", "x");`,
      "recipe.ts": `${imports}import "./side.ts";\nimport "./nowhere.ts";\nexport default recipe({ a: job({ run: "true" }) });`,
    });
    const { code, stderr } = await rig.coordinator(["run", path]);
    expect(code).toBe(2);
    expect(stderr).toContain("The recipe imports ./nowhere.ts, which cannot be found");
    expect(stderr).toContain(`at ${path}:3:8\n`);
    expect(() => readFileSync(join(dirname(path), "ran"))).toThrow("ENOENT");
  });
});

import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

/** A folder of its own, with these files and nothing else: no node_modules, no package.json, here and above. */
function bareFolder(rig: Rig, files: Readonly<Record<string, string>>): (name: string) => string {
  const folder = join(realpathSync(rig.folder), "bare");
  mkdirSync(folder, { recursive: true });
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  return (name) => join(folder, name);
}

const partTs = `import { job } from "sortie";
export const part = (n: number) => job({ run: ["echo", \`part \${n}\`] });\n`;
const asModule = `import { recipe } from "sortie";
import { part } from "./part.ts";
export default recipe({ one: part(1) });\n`;
const asCommonJs = `const { job, recipe } = require("sortie");
module.exports = recipe({ one: job({ run: "echo part 1" }) });\n`;

describe("a recipe in a folder without node_modules", () => {
  it("is run in each language and module system, with what it imports", async () => {
    await using rig = new Rig();
    const recipes = {
      "recipe.ts": asModule,
      "recipe.mts": asModule,
      "recipe.cts": `const { part } = require("./part.ts");\n${asCommonJs.replace(/job\(\{.*?\}\)/, "part(1)")}`,
      "recipe.js": asModule,
      "recipe.cjs": asCommonJs,
    };
    const path = bareFolder(rig, { "part.ts": partTs, ...recipes });
    for (const name of Object.keys(recipes)) {
      const { code, text, stderr } = await rig.coordinator(["run", path(name)]);
      expect({ name, code, stderr }).toEqual({ name, code: 0, stderr: "" });
      expect(text).toContain("one │ part 1");
    }
  });

  it("may import more while its jobs run", async () => {
    await using rig = new Rig();
    const path = bareFolder(rig, {
      "part.ts": partTs,
      "recipe.ts": `import { job, recipe } from "sortie";
      export default recipe({ one: job({ run: async () => ({ two: (await import("./part.ts")).part(2) }) }) });`,
    });
    const { code, text } = await rig.coordinator(["run", path("recipe.ts")]);
    expect(code).toBe(0);
    expect(text).toContain("part 2");
  });

  it("gets this installation's SDK also where another is installed: what runs it and what it imports are one", async () => {
    await using rig = new Rig();
    const path = bareFolder(rig, { "recipe.mts": asModule, "part.ts": partTs });
    mkdirSync(path("node_modules/sortie"), { recursive: true });
    writeFileSync(path("node_modules/sortie/package.json"), '{ "type": "module", "exports": "./old.js" }');
    writeFileSync(path("node_modules/sortie/old.js"), "throw new Error('the other one');");
    const { code, stderr } = await rig.coordinator(["run", path("recipe.mts")]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  });

  it("is told of a package that is not there, and of an export that the SDK does not have", async () => {
    await using rig = new Rig();
    const path = bareFolder(rig, {
      "missing.ts": 'import "./part.ts";\nimport "sortie-missing";\n',
      "wrong.mts": '\nimport { jobs } from "sortie";\nexport default jobs;\n',
      "part.ts": partTs,
    });
    const missing = await rig.coordinator(["run", path("missing.ts")]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("sortie-missing");
    const wrong = await rig.coordinator(["run", path("wrong.mts")]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toMatch(/jobs.*\n {2}at .*wrong\.mts:2/);
  });

  it("is checked against this installation's types, by the project's own settings and paths where it has some", async () => {
    await using rig = new Rig();
    const path = bareFolder(rig, {
      "part.ts": partTs,
      "recipe.ts": asModule,
      "wrong.ts": `import { job, recipe } from "sortie";\nexport default recipe({ a: job({ run: "x", needs: ["b"] }) });`,
    });
    const right = await rig.coordinator(["check", path("recipe.ts")]);
    expect({ code: right.code, stderr: right.stderr }).toEqual({ code: 0, stderr: "" });
    expect(right.text).toMatch(/1 job can be planned; types are right \(TypeScript \S+, strict/);
    const wrong = await rig.coordinator(["check", path("wrong.ts")]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toMatch(/'string' is not assignable to type 'Need'.*\n {2}at .*wrong\.ts:2:/);

    const settings = { module: "nodenext", target: "es2023", strict: true, skipLibCheck: true, types: [] };
    writeFileSync(
      path("tsconfig.json"),
      JSON.stringify({ compilerOptions: { ...settings, paths: { "@own/*": ["./*"] } } }),
    );
    writeFileSync(path("recipe.ts"), asModule.replace("./part.ts", "@own/part.ts"));
    const own = await rig.coordinator(["check", path("recipe.ts")]);
    expect({ code: own.code, stderr: own.stderr }).toEqual({ code: 0, stderr: "" });
    expect(own.text).toContain("tsconfig.json)");
  });
});

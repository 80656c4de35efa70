import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, root } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;

/** A recipe in a project that has TypeScript. */
function typed(rig: Rig, source: string, name?: string): string {
  const path = rig.recipe(source, name);
  const modules = join(dirname(path), "node_modules");
  if (!readdirSync(modules).includes("typescript"))
    symlinkSync(join(root, "node_modules/typescript"), join(modules, "typescript"));
  return path;
}

describe("coordinator check", () => {
  it("passes what is right, says what it was checked with, and runs no job", async () => {
    await using rig = new Rig();
    const path = typed(rig, recipe(`export default recipe({ a: job({ run: "touch ${rig.folder}/ran" }) });`));
    const { code, text, stderr } = await rig.coordinator(["check", path]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(text).toMatch(/recipe.ts: 1 job can be planned; types are right \(TypeScript \d[\d.]+, strict, since/);
    expect(readdirSync(rig.folder)).not.toContain("ran");
    expect(readdirSync(join(dirname(path), "node_modules/.cache"))).toEqual([]);
    expect((await rig.coordinator(["check", "recipes/ci.ts"])).text).toMatch(/3 jobs .*, tsconfig.json\)$/m);
  });

  it("tells each wrong type with its file and line, also of what the recipe imports", async () => {
    await using rig = new Rig();
    const path = typed(
      rig,
      recipe(`import { time } from "./shared.ts";
      const a = job({ run: "true", tiemout: time });
      export default recipe({ a, b: job({ needs: ["a"], run: "true" }) });`),
    );
    writeFileSync(
      join(dirname(path), "shared.ts"),
      'export const time: string = "1m";\nexport const wrong: number = time;\n',
    );
    const { code, text, stderr } = await rig.coordinator(["check", path]);
    expect({ code, text }).toEqual({ code: 2, text: "" });
    expect(stderr).toMatch(
      /error\[RECIPE_TYPES\]: .*'tiemout' does not exist .*'timeout'\? \(TS2561\)\n {2}at .*recipe.ts:3:36\n/,
    );
    expect(stderr).toMatch(/at .*recipe.ts:4:51\n/);
    expect(stderr).toMatch(/at .*shared.ts:2:14\n/);
    expect(stderr).toMatch(/recipe.ts: 3 errors\n$/);
  });

  it("holds to the project's own configuration, whatever that is for", async () => {
    await using rig = new Rig();
    const path = typed(
      rig,
      recipe(`function f(x) { return x; }\nexport default recipe({ a: job({ run: f("true") }) });`),
    );
    const strict = await rig.coordinator(["check", path]);
    expect(strict.stderr).toMatch(/\(TS7006\)\n {2}at .*recipe.ts:2:12\n/);
    const building = { composite: true, declaration: true, emitDeclarationOnly: true, outDir: "out", rootDir: "src" };
    const own = { module: "nodenext", target: "es2023", strict: false, skipLibCheck: true, types: [] };
    const configuration = join(dirname(path), "tsconfig.json");
    writeFileSync(configuration, JSON.stringify({ compilerOptions: { ...building, ...own }, include: ["src"] }));
    const { code, text, stderr } = await rig.coordinator(["check", path]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(text).toContain("tsconfig.json)");
    expect(readdirSync(dirname(path))).not.toContain("out");
  });

  it("plans what has no TypeScript, and says that types were not checked", async () => {
    await using rig = new Rig();
    const source = recipe(`export default recipe({ a: job({ run: "true" }) });`);
    // An installation has no TypeScript of its own: this repository's is for its development.
    const installation = join(rig.folder, "installation");
    // Another file's test builds beside it, and takes that away again.
    const filter = (path: string): boolean => !basename(path).startsWith(".new-");
    cpSync(join(root, "dist"), join(installation, "dist"), { recursive: true, filter });
    cpSync(join(root, "package.json"), join(installation, "package.json"));
    mkdirSync(join(installation, "node_modules"));
    for (const name of ["tsx", "esbuild"])
      symlinkSync(join(root, "node_modules", name), join(installation, "node_modules", name));
    const args = [join(installation, "dist/coordinator.js"), "check", rig.recipe(source)];
    const env = { ...process.env, SORTIE_HOME: rig.home };
    expect(execFileSync(process.execPath, args, { env, encoding: "utf8" })).toMatch(
      /1 job can be planned; types were not checked: its project has no TypeScript/,
    );
    const script = await rig.coordinator(["check", typed(rig, source, "plain.mjs")]);
    expect(script.text).toContain("types were not checked: it is no TypeScript");
  });

  it("exits 2 where it cannot be planned, though its types are right, and where there is none", async () => {
    await using rig = new Rig();
    const path = typed(
      rig,
      recipe(
        `const a = job({ run: "true" });\nconst b = job({ needs: [a], run: "true" });\nexport default recipe({ b });`,
      ),
    );
    const { code, stderr } = await rig.coordinator(["check", path]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/error\[RECIPE_INVALID\]: b needs a, .*\n {2}at .*recipe.ts:3/);
    const missing = await rig.coordinator(["check", "recipes/helo.ts"]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain("Did you mean recipes/hello.ts?");
  });
});

// Checks a recipe's types with the TypeScript of its own project, as a process: `coordinator check` uses it. The project's
// own configuration holds; a file that names the recipe alone is put beside it, in node_modules/.cache, for the time.
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, extname, join, parse, relative, resolve } from "node:path";
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";

export type TypeCheck =
  /** `by` says what checked it: "TypeScript 7.0.2, tsconfig.json". */
  | { readonly kind: "checked"; readonly by: string; readonly errors: readonly SortieError[] }
  /** A sentence, without its end. */
  | { readonly kind: "not-checked"; readonly why: string };

const Package = v.object({ version: v.string(), bin: v.object({ tsc: v.string() }) });

/** Rejects with RECIPE_TYPES where the compiler itself did not work. */
export async function checkTypes(recipe: string): Promise<TypeCheck> {
  const path = resolve(recipe);
  if (!existsSync(path)) return { kind: "not-checked", why: "it is not there" };
  if (!/^\.[cm]?tsx?$/.test(extname(path))) return { kind: "not-checked", why: "it is no TypeScript" };
  const { resolve: find } = createRequire(path);
  const manifest = found(() => find("typescript/package.json"));
  const modules = nearest(dirname(path), "node_modules");
  if (manifest === undefined || modules === undefined)
    return { kind: "not-checked", why: "its project has no TypeScript (npm install --save-dev typescript)" };
  const { version, bin } = v.parse(Package, JSON.parse(readFileSync(manifest, "utf8")));
  const configuration = nearest(dirname(path), "tsconfig.json");
  const cache = join(modules, ".cache");
  const folder = found(() => {
    mkdirSync(cache, { recursive: true });
    return mkdtempSync(join(cache, "sortie-check-"));
  });
  if (folder === undefined) return { kind: "not-checked", why: `${cache} cannot be written` };
  try {
    const hasNodeTypes = found(() => find("@types/node/package.json")) !== undefined;
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(configurationFor(path, configuration, hasNodeTypes)));
    const { output, code } = await run(join(dirname(manifest), bin.tsc), folder, dirname(path));
    const errors = errorsIn(output, dirname(path));
    if (code !== 0 && errors.length === 0)
      throw new SortieError("RECIPE_TYPES", `TypeScript ${version} ended with code ${code}: ${output.trim()}`);
    const by = `TypeScript ${version}, ${configuration === undefined ? "strict, since there is no tsconfig.json" : relative(".", configuration)}`;
    return { kind: "checked", by, errors };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function configurationFor(path: string, configuration: string | undefined, hasNodeTypes: boolean): object {
  // Nothing is written, so what says where and how is taken back: every file is below this root.
  const rootDir = parse(path).root;
  const quiet = { noEmit: true, composite: false, incremental: false, emitDeclarationOnly: false, rootDir };
  const recipe = { files: [path], include: [] };
  const extensions = { allowImportingTsExtensions: true };
  if (configuration !== undefined)
    return { extends: configuration, ...recipe, compilerOptions: { ...quiet, ...extensions } };
  const modern = { module: "nodenext", target: "es2023", strict: true, skipLibCheck: true };
  const types = hasNodeTypes ? ["node"] : [];
  return { ...recipe, compilerOptions: { ...quiet, ...extensions, ...modern, types } };
}

function run(compiler: string, project: string, cwd: string): Promise<{ output: string; code: number }> {
  return new Promise((done, reject) => {
    const args = [compiler, "--project", project, "--pretty", "false"];
    execFile(process.execPath, args, { cwd, maxBuffer: limits.typeCheckBytes }, (error, stdout, stderr) => {
      // Where it said more than that, the first of it are enough.
      if (error && typeof error.code !== "number" && error.code !== "ERR_CHILD_PROCESS_STDIO_MAXBUFFER") reject(error);
      else done({ output: stdout + stderr, code: typeof error?.code === "number" ? error.code : error ? 1 : 0 });
    });
  });
}

/** `FILE(LINE,COLUMN): error TS1234: MESSAGE`, or without a place; lines that go on with it are indented. */
function errorsIn(output: string, cwd: string): SortieError[] {
  const errors: SortieError[] = [];
  const found = output.matchAll(/^(?:(\S.*?)\((\d+),(\d+)\): )?error (TS\d+): (.*(?:\n[ \t].*)*)/gm);
  for (const [, file, line, column, code, text = ""] of found) {
    const place =
      file === undefined ? {} : { at: { file: resolve(cwd, file), line: Number(line), column: Number(column) } };
    errors.push(new SortieError("RECIPE_TYPES", `${text.replace(/\s+/g, " ").trim()} (${code})`, place));
  }
  return errors;
}

function found(look: () => string): string | undefined {
  try {
    return look();
  } catch {
    return undefined;
  }
}

function nearest(from: string, name: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    if (folder === dirname(folder)) return undefined;
  }
}

// Checks a recipe's types with the TypeScript of its own project, as a process: `coordinator check` uses it. The project's
// own configuration holds; a file that names the recipe alone is put beside it, in node_modules/.cache, for the time. What
// the project lacks is this installation's: TypeScript, where that is beside it, and the types of "sortie".
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, extname, join, parse, relative, resolve } from "node:path";
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { nearest } from "./nearest.ts";

export type TypeCheck =
  /** `by` says what checked it: "TypeScript 7.0.2, tsconfig.json". */
  | { readonly kind: "checked"; readonly by: string; readonly errors: readonly SortieError[] }
  /** A sentence, without its end. */
  | { readonly kind: "not-checked"; readonly why: string };

const Package = v.object({ version: v.string(), bin: v.object({ tsc: v.string() }) });
const OwnPackage = v.object({ exports: v.object({ ".": v.object({ types: v.string() }) }) });
const Shown = v.object({
  compilerOptions: v.object({ paths: v.optional(v.record(v.string(), v.array(v.string()))) }),
});

/** Rejects with RECIPE_TYPES where the compiler itself did not work. */
export async function checkTypes(recipe: string): Promise<TypeCheck> {
  const path = resolve(recipe);
  if (!existsSync(path)) return { kind: "not-checked", why: "it is not there" };
  if (!/^\.[cm]?tsx?$/.test(extname(path))) return { kind: "not-checked", why: "it is no TypeScript" };
  const own = createRequire(path).resolve;
  const manifest = found(() => own("typescript/package.json")) ?? found(() => ours("typescript/package.json"));
  if (manifest === undefined)
    return { kind: "not-checked", why: "its project has no TypeScript (npm install --save-dev typescript)" };
  const { version, bin } = v.parse(Package, JSON.parse(readFileSync(manifest, "utf8")));
  const compiler = join(dirname(manifest), bin.tsc);
  const configuration = nearest(dirname(path), "tsconfig.json");
  const modules = nearest(dirname(path), "node_modules");
  const place = modules === undefined ? tmpdir() : join(modules, ".cache");
  const folder = found(() => {
    mkdirSync(place, { recursive: true });
    return mkdtempSync(join(place, "sortie-check-"));
  });
  if (folder === undefined) return { kind: "not-checked", why: `${place} cannot be written` };
  try {
    const nodeTypes = found(() => own("@types/node/package.json")) ?? found(() => ours("@types/node/package.json"));
    const lacks = found(() => own("sortie/package.json")) === undefined;
    const paths = lacks ? { ...(await pathsOf(compiler, configuration)), sortie: [sdkTypes()] } : undefined;
    const settings = configurationFor(path, configuration, nodeTypes, paths);
    writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(settings));
    const { output, code } = await run(compiler, ["--project", folder, "--pretty", "false"], dirname(path));
    const errors = errorsIn(output, dirname(path));
    if (code !== 0 && errors.length === 0)
      throw new SortieError("RECIPE_TYPES", `TypeScript ${version} ended with code ${code}: ${output.trim()}`);
    const by = `TypeScript ${version}, ${configuration === undefined ? "strict, since there is no tsconfig.json" : relative(".", configuration)}`;
    return { kind: "checked", by, errors };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

const ours = createRequire(import.meta.url).resolve;

/** What this installation's recipes import, as types: where its package says. */
function sdkTypes(): string {
  const manifest = ours("sortie/package.json");
  const { exports } = v.parse(OwnPackage, JSON.parse(readFileSync(manifest, "utf8")));
  return join(dirname(manifest), exports["."].types);
}

/** The project's own, absolute: one that is given besides them would replace them all. */
async function pathsOf(compiler: string, configuration: string | undefined): Promise<Record<string, string[]>> {
  if (configuration === undefined) return {};
  const folder = dirname(configuration);
  const { output } = await run(compiler, ["--project", configuration, "--showConfig"], folder);
  // Where it cannot be read, the check itself says why.
  const shown = v.safeParse(v.pipe(v.string(), v.parseJson(), Shown), output);
  const { paths = {} } = shown.success ? shown.output.compilerOptions : {};
  return Object.fromEntries(Object.entries(paths).map(([name, to]) => [name, to.map((one) => resolve(folder, one))]));
}

function configurationFor(
  path: string,
  configuration: string | undefined,
  nodeTypes: string | undefined,
  paths: Record<string, string[]> | undefined,
): object {
  // Nothing is written, so what says where and how is taken back: every file is below this root.
  const rootDir = parse(path).root;
  const quiet = { noEmit: true, composite: false, incremental: false, emitDeclarationOnly: false, rootDir };
  const recipe = { files: [path], include: [] };
  const ours = { ...quiet, allowImportingTsExtensions: true, ...(paths ? { paths } : {}) };
  if (configuration !== undefined) return { extends: configuration, ...recipe, compilerOptions: ours };
  const modern = { module: "nodenext", target: "es2023", strict: true, skipLibCheck: true };
  const types = nodeTypes === undefined ? { types: [] } : { types: [dirname(nodeTypes)] };
  return { ...recipe, compilerOptions: { ...ours, ...modern, ...types } };
}

function run(compiler: string, args: readonly string[], cwd: string): Promise<{ output: string; code: number }> {
  return new Promise((done, reject) => {
    execFile(
      process.execPath,
      [compiler, ...args],
      { cwd, maxBuffer: limits.typeCheckBytes },
      (error, stdout, stderr) => {
        // Where it said more than that, the first of it are enough.
        if (error && typeof error.code !== "number" && error.code !== "ERR_CHILD_PROCESS_STDIO_MAXBUFFER")
          reject(error);
        else done({ output: stdout + stderr, code: typeof error?.code === "number" ? error.code : error ? 1 : 0 });
      },
    );
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

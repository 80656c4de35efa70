// A recipe and what it imports as one module, made by this process before anything of it runs: the sandbox then needs to read no
// code. What is bundled is read here, for the recipe, so it must be what the recipe may read.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, extname, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import type { BuildFailure, Loader, Message, PartialMessage, Plugin } from "esbuild";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { processStat } from "../../protocol/process-stat.ts";
import { oneLine } from "../../protocol/text.ts";
import { nearest } from "../recipe/nearest.ts";
import { denied, isWithin } from "./grants.ts";
import { type Bounds, memoryOf } from "./process.ts";

export interface Bundle {
  readonly code: string;
  /** Every file that it is made of; absolute. */
  readonly files: ReadonlySet<string>;
}

const LOADERS: Readonly<Record<string, Loader>> = {
  ...{ ".ts": "ts", ".mts": "ts", ".cts": "ts", ".tsx": "tsx" },
  ...{ ".js": "js", ".mjs": "js", ".cjs": "js", ".jsx": "jsx" },
  ".json": "json",
};
/** What a module says of where it is, which in a bundle would be where the bundle is: a name of its own stands for each. */
const PLACE = {
  "import.meta.url": "sortie_module_url",
  "import.meta.dirname": "sortie_module_dirname",
  "import.meta.filename": "sortie_module_filename",
  __dirname: "sortie_module_dirname",
  __filename: "sortie_module_filename",
};
const SAYS_PLACE = /\bmeta\b|__(dirname|filename)\b/;

/** `readable` are the paths that the recipe may read. Rejects with RECIPE_SYNTAX, RECIPE_THREW, SANDBOX_DENIED and SANDBOX_FAILED. */
export async function bundle(
  file: string,
  readable: readonly string[],
  bounds: Pick<Bounds, "loadMs" | "memoryBytes">,
): Promise<Bundle> {
  const { build, stop } = await import("esbuild");
  const files = new Set<string>();
  let refused: SortieError | undefined;
  let bytes = 0;

  function read(path: string): { contents: string; loader: Loader } | { errors: PartialMessage[] } {
    const loader = LOADERS[extname(path)];
    if (!loader) return { errors: [{ text: `${path} is neither code nor JSON, and a sandbox loads nothing else` }] };
    if (!isWithin(path, readable)) {
      refused ??= denied(`import ${path}`, `--allow-read=${dirname(path)}`, { file, line: 1 });
      return { errors: [{ text: refused.message }] };
    }
    const stats = statSync(path);
    bytes += stats.size;
    if (!stats.isFile() || bytes > limits.sandboxSourceBytes)
      return { errors: [{ text: `${path} is no file, or too long: ${limits.sandboxSourceBytes} bytes are the most` }] };
    files.add(path);
    const source = readFileSync(path, "utf8");
    return { contents: loader !== "json" && SAYS_PLACE.test(source) ? placed(source, path) : source, loader };
  }

  const reads: Plugin = {
    name: "sortie",
    setup(esbuild) {
      esbuild.onResolve({ filter: /^sortie$/ }, () => ({ path: "sortie", external: true }));
      esbuild.onLoad({ filter: /.*/, namespace: "file" }, ({ path }) => read(path));
    },
  };
  const tsconfig = nearest(dirname(file), "tsconfig.json");
  try {
    const building = build({
      entryPoints: [file],
      absWorkingDir: dirname(file),
      bundle: true,
      write: false,
      format: "esm",
      platform: "node",
      target: `node${process.versions.node}`,
      define: PLACE,
      ...(tsconfig !== undefined && isWithin(tsconfig, readable) ? { tsconfig } : { tsconfigRaw: {} }),
      sourcemap: "inline",
      sourcesContent: false,
      outfile: resolve(dirname(file), "recipe.js"),
      logLevel: "silent",
      plugins: [reads],
    });
    const { outputFiles } = await bounded(building, bounds, stop);
    return { code: outputFiles[0]?.text ?? "", files };
  } catch (error) {
    throw refused ?? problemOf(error, file);
  }
}

/**
 * What is no code (package.json, tsconfig.json, source maps) esbuild reads by itself, in a process of its own, and in a hostile
 * repository that may be a link to what never ends.
 */
async function bounded<Built>(
  building: Promise<Built>,
  { loadMs, memoryBytes }: Pick<Bounds, "loadMs" | "memoryBytes">,
  stop: () => Promise<void>,
): Promise<Built> {
  const over = Promise.withResolvers<never>();
  const end = (what: string): void => {
    over.reject(new SortieError("SANDBOX_FAILED", `Bundling the sandboxed recipe took more than ${what}.`));
    void stop();
  };
  const late = setTimeout(() => end(`${loadMs / 1_000} s`), loadMs);
  let pid: number | undefined;
  const watching = setInterval(() => {
    pid ??= esbuildPid();
    if (memoryOf(pid) > memoryBytes) end(`${memoryBytes / 2 ** 20} MiB of memory`);
  }, limits.sandboxLookMs);
  try {
    return await Promise.race([building, over.promise]);
  } finally {
    clearTimeout(late);
    clearInterval(watching);
  }
}

/** Undefined where the platform does not tell. */
function esbuildPid(): number | undefined {
  if (!existsSync("/proc/self/stat")) return undefined;
  return readdirSync("/proc")
    .map(Number)
    .find((pid) => {
      const stat = pid > 0 ? processStat(pid) : undefined;
      return stat?.parent === process.pid && stat.name === "esbuild";
    });
}

/** With those names in its first line, or in its second below a `#!`; an `import` may stand anywhere. */
function placed(source: string, path: string): string {
  const [interpreter] = /^(#!.*\n)?/.exec(source) as RegExpExecArray;
  const names = { url: pathToFileURL(path).href, dirname: dirname(path), filename: path };
  const known = Object.entries(names).map(([name, value]) => `sortie_module_${name} = ${JSON.stringify(value)}`);
  return `${interpreter}var ${known.join(", ")}; ${source.slice(interpreter.length)}`;
}

/** As loading the recipe without a sandbox tells it. */
function problemOf(error: unknown, recipe: string): unknown {
  const [first] = (error as Partial<BuildFailure>).errors ?? [];
  if (!first) return error;
  const at = placeOf(first, recipe);
  const [, missing] = /^Could not resolve "(.*)"$/.exec(first.text) ?? [];
  if (missing !== undefined)
    return new SortieError("RECIPE_THREW", `The recipe imports ${oneLine(missing)}, which cannot be found.`, {
      at,
      hint: "Correct its name, or install it.",
    });
  const what = at.file === recipe ? "The recipe" : `The recipe's import ${basename(at.file)}`;
  const language = extname(at.file) === ".json" ? "JSON" : "TypeScript";
  return new SortieError("RECIPE_SYNTAX", `${what} is not valid ${language}: ${oneLine(first.text)}.`, { at });
}

const placeOf = ({ location }: Message, recipe: string) =>
  location
    ? { file: resolve(dirname(recipe), location.file), line: location.line, column: location.column + 1 }
    : { file: recipe, line: 1 };

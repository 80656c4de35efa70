// Loads a recipe with Node alone, which takes the types away and changes nothing else: tsx and esbuild cost more than all
// the rest of a start. Only where it comes to the same; the loader leaves every other recipe, and every one that Node
// cannot link, to tsx.
import { readFileSync, realpathSync } from "node:fs";
import module from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import { isPackage } from "./location.ts";

/** The first Node whose stripping of types is tested here. */
const STRIPS_SINCE = 26;
/** Where Sortie's own code is: the bundle, or the repository. */
const OWN = pathToFileURL(import.meta.dirname.replace(/\/(?:dist\/chunks|coordinator\/recipe)$/, "/")).href;
const ENTRY = "sortie:entry";
const RUNS = "sortie:runs";
/** Set by the module RUNS, which is the first of the graph to be evaluated. */
const runs = Symbol.for("sortie.recipe-runs");
/**
 * What tsx does in its own way, and only when it is evaluated: imports that are made then, CommonJS, and more of
 * import.meta than where a file is.
 */
const TSX_WORDS =
  /\bimport\s*\(|\b(?:require|__dirname|__filename|exports|eval)\b|\bmodule\s*\.|\bimport\s*\.\s*meta\b(?!\s*\.\s*(?:url|dirname|filename)\b)/;
/** Settings of a project that tsx follows and Node does not. */
const TSX_SETTINGS =
  /"(?:extends|paths|baseUrl|rootDirs|jsx\w*|experimentalDecorators|emitDecoratorMetadata|useDefineForClassFields|preserveSymlinks|moduleSuffixes|customConditions)"|"target"\s*:\s*"(?!es202[2-9]|es20[3-9]|esnext)/i;

/**
 * The recipe's module, or `undefined` where tsx is to load it, and nothing of it was run. Rejects with what the recipe
 * threw. `tsconfig`: the settings' file of its project.
 */
export async function importNatively(
  file: string,
  tsconfig: string | false,
  onImport?: (file: string) => void,
): Promise<object | undefined> {
  if (!mayLoad(file, tsconfig)) return undefined;
  const entry = pathToFileURL(file).href;
  const state = globalThis as { [runs]?: boolean };
  const hooks = module.registerHooks({
    resolve(specifier, context, next) {
      if (specifier === ENTRY || specifier === RUNS) return { url: specifier, format: "module", shortCircuit: true };
      const found = next(specifier, context);
      // What an import of CommonJS gives depends on what the importing file is taken for.
      if (found.format === "commonjs" && context.parentURL && isOfProject(context.parentURL)) throw new ForTsx();
      return found;
    },
    load(url, context, next) {
      if (url === ENTRY) return source(`import "${RUNS}"; export * as recipe from ${JSON.stringify(entry)};`);
      if (url === RUNS) return source(`globalThis[Symbol.for(${JSON.stringify(runs.description)})] = true;`);
      if (url.startsWith("file:")) onImport?.(fileURLToPath(url));
      const loaded = next(url, context);
      if (isOfProject(url) && !isPlainModule(loaded)) throw new ForTsx();
      return loaded;
    },
  });
  try {
    return ((await import(ENTRY)) as { recipe: object }).recipe;
  } catch (error) {
    if (state[runs]) throw error;
    return undefined;
  } finally {
    hooks.deregister();
    delete state[runs];
  }
}

/** Never seen by anybody: it ends the linking. */
class ForTsx extends Error {}

const source = (text: string) => ({ source: text, format: "module", shortCircuit: true });

function mayLoad(file: string, tsconfig: string | false): boolean {
  return (
    Number.parseInt(process.versions.node, 10) >= STRIPS_SINCE &&
    !/\.c[jt]s$/.test(file) &&
    !isPackage(file) &&
    // Through a link, a file is another one to each of the two.
    realpathSync(file) === file &&
    (tsconfig === false || !TSX_SETTINGS.test(readFileSync(tsconfig, "utf8")))
  );
}

/** A person's own file: no package's, and not Sortie's, whose repository has recipes as well. */
const isOfProject = (url: string): boolean =>
  url.startsWith("file:") &&
  !isPackage(url) &&
  !(url.startsWith(`${OWN}dist/`) || url.startsWith(`${OWN}coordinator/`));

function isPlainModule({ format, source }: module.LoadFnOutput): boolean {
  if (format === "json" || format === "builtin") return true;
  if (format !== "module" && format !== "module-typescript") return false;
  return !TSX_WORDS.test(typeof source === "string" ? source : Buffer.from(source as Uint8Array).toString());
}

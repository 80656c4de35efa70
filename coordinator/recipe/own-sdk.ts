// Gives "sortie" to recipes, wherever they are: this installation's own SDK, always. What runs a recipe and what it
// imports are then of one version, and a recipe needs no node_modules beside it. The loader calls it.
import { createRequire, registerHooks } from "node:module";
import { pathToFileURL } from "node:url";

let provided: Promise<void> | undefined;

/** For as long as the process lives: the function of a job may import more while it runs. */
export const provideSdk = (): Promise<void> => (provided ??= provide());

async function provide(): Promise<void> {
  // By the package's own name, from within. Before the hook is there: it would be asked for this, too.
  const url = pathToFileURL(createRequire(import.meta.url).resolve("sortie")).href;
  // Whole, before anything is linked with it: what is linked in vain would leave it where no require() can take it.
  await import(url);
  registerHooks({
    resolve: (specifier, context, next) =>
      specifier === "sortie" ? { url, format: "module", shortCircuit: true } : next(specifier, context),
  });
}

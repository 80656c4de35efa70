// Loads a recipe with tsx: what Node alone cannot take, or takes in another way. The loader calls it.
import { fileURLToPath, pathToFileURL } from "node:url";

/**
 * As tsx's own tsImport does; but that gives the modules a new name each time, and then every start leaves another copy of
 * all of them in the compile cache.
 */
const NAMESPACE = "sortie";

/** The recipe's module. Rejects with what loading it threw. */
export async function importWithTsx(
  file: string,
  tsconfig: string | false,
  onImport?: (file: string) => void,
): Promise<object> {
  const [commonJs, modules] = await Promise.all([import("tsx/cjs/api"), import("tsx/esm/api")]);
  commonJs.register({ namespace: NAMESPACE });
  return modules
    .register({ namespace: NAMESPACE, tsconfig, ...(onImport ? { onImport: pathTo(onImport) } : {}) })
    .import(pathToFileURL(file).href, import.meta.url);
}

/** tsx gives addresses, of what is no file too. */
const pathTo =
  (told: (file: string) => void) =>
  (address: string): void => {
    const url = URL.parse(address);
    if (url?.protocol === "file:") told(fileURLToPath(url));
  };

// Looks for a file or a folder of a project: beside something, or in a folder above it. The loader and the check of types ask.
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

/** Its path in the folder `from`, or in the nearest one above it. */
export function nearest(from: string, name: string): string | undefined {
  for (let folder = from; ; folder = dirname(folder)) {
    const path = join(folder, name);
    if (existsSync(path)) return path;
    if (folder === dirname(folder)) return undefined;
  }
}

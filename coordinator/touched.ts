// Which jobs a changed file concerns, by their `inputs`. Pure; `coordinator run --watch` asks it.
import { join, matchesGlob, relative, resolve } from "node:path";
import type { JobName } from "../protocol/ids.ts";

/** A job, as far as a watcher is concerned. */
export interface Watched {
  readonly name: JobName;
  /** As the recipe has them; absent: all that is below its folder. */
  readonly inputs?: readonly string[] | undefined;
}

/** Where a glob begins, and what is left of it there: nothing of the folder's own name can be taken for a pattern. */
export function anchored(folder: string, glob: string): { readonly base: string; readonly glob: string } {
  const segments = glob.split("/");
  const first = segments.findIndex((segment) => /[*?[\]{}()!+@]/.test(segment));
  const fixed = first < 0 ? segments.length - 1 : first;
  return { base: resolve(folder, ...segments.slice(0, fixed)), glob: join(...segments.slice(fixed)) };
}

/** The jobs that the change of this file concerns. Paths are absolute; `folder` is the recipe's. */
export const touchedBy = <Job extends Watched>(file: string, jobs: readonly Job[], folder: string): Job[] =>
  jobs.filter(({ inputs }) =>
    inputs ? inputs.some((input) => matches(file, anchored(folder, input))) : isBelow(file, folder),
  );

function matches(file: string, { base, glob }: { readonly base: string; readonly glob: string }): boolean {
  if (!isBelow(file, base)) return false;
  const path = relative(base, file);
  // A folder stands for what is in it.
  return matchesGlob(path, glob) || matchesGlob(path, `${glob}/**`);
}

const isBelow = (file: string, folder: string): boolean => {
  const path = relative(folder, file);
  return path !== "" && path !== ".." && !path.startsWith("../");
};

// Which jobs a changed file concerns, by their `inputs`. Pure; `coordinator run --watch` asks it.
import { join, matchesGlob, relative, resolve } from "node:path";
import { createContext, runInContext } from "node:vm";
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";

/** A job, as far as a watcher is concerned. */
export interface Watched {
  readonly name: JobName;
  /** As the recipe has them; absent: all that is below its folder. */
  readonly inputs?: readonly string[] | undefined;
}

const bounds = createContext({}) as { look?: () => unknown };

/** Where a glob begins, and what is left of it there: nothing of the folder's own name can be taken for a pattern. */
export function anchored(folder: string, glob: string): { readonly base: string; readonly glob: string } {
  const segments = glob.split("/");
  const first = segments.findIndex((segment) => /[*?[\]{}()!+@]/.test(segment));
  const fixed = first < 0 ? segments.length - 1 : first;
  return { base: resolve(folder, ...segments.slice(0, fixed)), glob: join(...segments.slice(fixed)) };
}

/**
 * The jobs that the change of this file concerns. Paths are absolute; `folder` is the recipe's. Throws WATCH_FAILED for globs
 * that take too long: `{1..1000000}` and `*a*a*a*a` are short, and with them this process would hear no Ctrl-C.
 */
export function touchedBy<Job extends Watched>(
  file: string,
  jobs: readonly Job[],
  folder: string,
  mostMs: number = limits.globsMs,
): Job[] {
  const look = (): Job[] =>
    jobs.filter(({ inputs }) =>
      inputs ? inputs.some((input) => matches(file, anchored(folder, input))) : isBelow(file, folder),
    );
  try {
    // What V8 can end in the midst of it, whatever it does.
    bounds.look = look;
    return runInContext("look()", bounds, { timeout: mostMs }) as Job[];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ERR_SCRIPT_EXECUTION_TIMEOUT") throw error;
    throw new SortieError("WATCH_FAILED", `Patterns of inputs take more than ${mostMs / 1_000} s to look at.`, {
      hint: "Correct the jobs' inputs: name folders, with few stars and braces.",
    });
  }
}

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

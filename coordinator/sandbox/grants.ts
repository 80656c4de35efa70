// What a sandboxed recipe may do beside asking for jobs: flags of `coordinator run --sandbox`, and what is recorded of them, so that
// a run that is gone on with stays in its sandbox. Everything else of this folder asks here what is granted.
import { existsSync } from "node:fs";
import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { limits } from "../../protocol/limits.ts";
import { fitsName, namePattern } from "../../protocol/name-pattern.ts";
import { isInside, realPath } from "../../protocol/real-path.ts";
import { nearest } from "../recipe/nearest.ts";

/** A variable's name, or `PREFIX_*`. */
const Name = v.pipe(
  v.string(),
  v.check((text) => namePattern(text) !== undefined),
);

export const SandboxGrants = v.strictObject({
  /** Absolute paths of folders and files; what is below a folder is granted with it. */
  read: v.array(v.string()),
  write: v.array(v.string()),
  net: v.boolean(),
  /** Variables of the coordinator's environment that the recipe sees, and those that it may have delivered to a job. */
  env: v.array(Name),
  secret: v.array(Name),
  /** What the runner on this machine may do for it, by kinds of a runner's grants. */
  runner: v.record(v.string(), v.union([v.literal(true), v.pipe(v.array(v.string()), v.readonly())])),
});
export type SandboxGrants = v.InferOutput<typeof SandboxGrants>;

export const isNamed = (name: string, granted: readonly string[]): boolean =>
  granted.some((one) => {
    const pattern = namePattern(one);
    return pattern !== undefined && fitsName(pattern, name);
  });

/** Whether the path, followed through its links, is one of these or below one, by whole components. */
export function isWithin(path: string, granted: readonly string[]): boolean {
  const real = realPath(path);
  return granted.some((one) => isInside(realPath(one), real));
}

/** isWithin for what a recipe names: each path is looked at once, and so many are. Throws SANDBOX_FAILED beyond. */
export function readableIn(granted: readonly string[]): (path: string) => boolean {
  const known = new Map<string, boolean>();
  return (path) => {
    const before = known.get(path);
    if (before !== undefined) return before;
    if (known.size >= limits.sandboxPaths)
      throw new SortieError("SANDBOX_FAILED", `The recipe names more than ${limits.sandboxPaths} files and folders.`);
    const is = isWithin(path, granted);
    known.set(path, is);
    return is;
  };
}

/**
 * What a recipe may read without being told: its repository, else its project, else its own folder; never where the keys
 * of this machine's coordinator or runner are below that. Nothing, where they are below its own folder.
 */
export function ownFolderOf(recipe: string): string | undefined {
  const own = dirname(recipe);
  const mark = nearest(own, ".git") ?? nearest(own, "package.json");
  const widest = mark === undefined ? own : dirname(mark);
  return [widest, own].find((folder) => !holdsKeys(folder) && !isPattern(folder));
}

/** Node takes a star in a path that it grants for whatever is beside it. */
const isPattern = (path: string): boolean => `${path}${realPath(path)}`.includes("*");

/** Keys are what makes a coordinator: whoever reads them is it. */
export const holdsKeys = (path: string): boolean =>
  [homeOf("coordinator"), homeOf("runner")].some((home) => isWithin(home, [path]) || isWithin(path, [home]));

/** The error for what was not granted; `flag` would grant it. */
export const denied = (
  what: string,
  flag: string | undefined,
  at?: { readonly file: string; readonly line: number; readonly column?: number },
): SortieError =>
  new SortieError("SANDBOX_DENIED", `The recipe is in a sandbox, and may not ${what}.`, {
    hint:
      flag === undefined
        ? "Nothing allows that in a sandbox; a recipe that you trust runs without --sandbox."
        : `${flag} would allow it.`,
    ...(at ? { at } : {}),
  });

/** Throws USAGE for a path that holds keys, or is not there. */
export function grantedPath(flag: string, path: string): string {
  const absolute = resolve(path);
  if (holdsKeys(absolute))
    throw new SortieError(
      "USAGE",
      `--${flag}=${path} would give the recipe the keys of this machine's coordinator or runner: ${homeOf("coordinator")} is there.`,
      { hint: "Name a folder that does not hold them." },
    );
  if (isPattern(absolute))
    throw new SortieError("USAGE", `--${flag} takes a path, not a pattern: ${path}.`, {
      hint: "Name the folder: what is below it is granted with it.",
    });
  if (flag === "allow-read" && !existsSync(absolute))
    throw new SortieError("USAGE", `--${flag}: there is no ${path}.`, { hint: "Correct the path." });
  return absolute;
}

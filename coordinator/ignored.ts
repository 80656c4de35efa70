// What `coordinator run --watch` never looks at: .git, node_modules, and what the .gitignore files of the repository name.
import { existsSync, readFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import ignore, { type Ignore } from "ignore";

export interface Ignored {
  /** Of an absolute path. `isFolder` where that is known. */
  has(path: string, isFolder?: boolean): boolean;
  /** A .gitignore changed: all are read anew when they are needed. */
  forget(): void;
}

/**
 * `folder` is where the .gitignore files count from, where there is no repository around it. `own` are paths that Sortie itself
 * writes.
 */
export function ignoredFrom(folder: string, own: readonly string[] = []): Ignored {
  const rules = new Map<string, Ignore | undefined>();
  const chains = new Map<string, readonly string[]>();

  const isWithin = (one: string): boolean => !relative(folder, one).startsWith("..");

  function rulesOf(one: string): Ignore | undefined {
    if (!rules.has(one)) {
      const file = join(one, ".gitignore");
      rules.set(one, existsSync(file) ? ignore().add(readFileSync(file, "utf8")) : undefined);
    }
    return rules.get(one);
  }

  /** Folders whose rules count within this one, the outermost first: up to the repository's own. */
  function chainOf(one: string): readonly string[] {
    const known = chains.get(one);
    if (known) return known;
    const chain: string[] = [];
    for (let at = one; ; at = dirname(at)) {
      chain.unshift(at);
      if (existsSync(join(at, ".git"))) break;
      if (at !== dirname(at)) continue;
      chain.splice(0, chain.length, ...chain.filter(isWithin));
      break;
    }
    chains.set(one, chain);
    return chain;
  }

  function isIgnored(path: string, isFolder: boolean, isCounted: (folder: string) => boolean): boolean {
    let ignored = false;
    for (const one of chainOf(dirname(path)).filter(isCounted)) {
      const found = rulesOf(one)?.test(`${relative(one, path)}${isFolder ? "/" : ""}`);
      if (found?.ignored) ignored = true;
      else if (found?.unignored) ignored = false;
    }
    return ignored;
  }

  /** Where the repository ignores the recipe's whole folder, its rules from there on are all that counts. */
  const isOutside = isIgnored(folder, true, () => true);
  const counts = (one: string): boolean => !isOutside || isWithin(one);

  return {
    has(path, isFolder = false) {
      const name = basename(path);
      return name === ".git" || name === "node_modules" || own.includes(path) || isIgnored(path, isFolder, counts);
    },
    forget() {
      rules.clear();
    },
  };
}

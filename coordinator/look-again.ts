// Files that are made in a new folder before it is watched. watch.ts has its watcher's folders looked at again for them.
import { readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import type { FSWatcher } from "chokidar";
import { limits } from "../protocol/limits.ts";

export interface LookAgain {
  /** A new folder. */
  add(folder: string): void;
  /** A file that was told of. */
  knows(file: string): void;
  stop(): void;
}

/**
 * A new folder is read first, and watched then: of what is made there in between chokidar is never told. So it is looked at
 * twice more, and by the second time it is watched. `tell` gets the files that were missed.
 */
export function lookAgain(watcher: FSWatcher, tell: (file: string) => void): LookAgain {
  let seen: string[] = [];
  let fresh: string[] = [];
  let missed: string[] = [];
  const known = new Set<string>();
  let timer: NodeJS.Timeout | undefined;

  function look(): void {
    const watched = watcher.getWatched();
    // Those that it watches by now: it ignores some.
    for (const path of missed) {
      for (const file of filesIn(path, watched)) if (!known.has(file)) tell(file);
      if (watched[path]) fresh.push(path);
    }
    missed = [...seen, ...fresh].flatMap((folder) => {
      const names = new Set(watched[folder]);
      return namesIn(folder)
        .filter((name) => !names.has(name))
        .map((name) => join(folder, name));
    });
    watcher.add(missed);
    seen = fresh;
    fresh = [];
    timer = undefined;
    if (seen.length + missed.length > 0) timer = setTimeout(look, limits.watchLookMs);
    else known.clear();
  }

  return {
    add(folder) {
      fresh.push(folder);
      timer ??= setTimeout(look, limits.watchLookMs);
    },
    knows(file) {
      if (timer) known.add(file);
    },
    stop: () => clearTimeout(timer),
  };
}

/** The file itself, or those below the folder; none of what is not watched. */
function filesIn(path: string, watched: Readonly<Record<string, readonly string[]>>): string[] {
  const names = watched[path];
  if (names) return names.flatMap((name) => filesIn(join(path, name), watched));
  return watched[dirname(path)]?.includes(basename(path)) ? [path] : [];
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // It is gone.
    return [];
  }
}

// A small JSON file of a state folder, shared by several processes: read through a cache that looks at the file's
// time, changed under a lock, replaced whole.
import { type BigIntStats, readFileSync, statSync } from "node:fs";
import * as v from "valibot";
import { mayBeSameStep } from "./clock-step.ts";
import { SortieError } from "./errors.ts";
import { replaceFile, unusable } from "./home.ts";
import { locked } from "./lock.ts";

export interface StateFile<T> {
  /** What is in the file now. Throws STATE_INVALID for a damaged one: it is never taken for an empty one. */
  read(): T;
  /** Replaces the content by what `change` makes of it, while no other process does. */
  change(change: (content: T) => T): void;
}

export function stateFile<T>(path: string, schema: v.GenericSchema<unknown, T>, empty: T): StateFile<T> {
  let seen = "";
  /** As long as another change could leave a file that looks the same: the second one gets back the inode before the first. */
  let text: string | undefined;
  let content = empty;

  function read(): T {
    const stat = look();
    const now = stat ? `${stat.ino}:${stat.mtimeNs}:${stat.size}` : "";
    if (now === seen && text === undefined) return content;
    const isYoung = stat !== undefined && mayBeSameStep(stat.mtimeMs);
    const found = stat && textOf();
    if (found !== text || now !== seen) content = contentOf(found);
    text = isYoung ? found : undefined;
    seen = now;
    return content;
  }

  function look(): BigIntStats | undefined {
    try {
      return statSync(path, { throwIfNoEntry: false, bigint: true });
    } catch (error) {
      throw unusable(path, error);
    }
  }

  /** Undefined where there is none. */
  function textOf(): string | undefined {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
      throw unusable(path, error);
    }
  }

  function contentOf(text: string | undefined): T {
    if (text === undefined) return empty;
    try {
      return v.parse(schema, JSON.parse(text));
    } catch (error) {
      throw new SortieError("STATE_INVALID", `The file ${path} is damaged.`, { cause: error });
    }
  }

  return {
    read,
    change(change) {
      locked(path, () => {
        // Not from the cache: what is lost here is lost for good. Checked before it is written: what could not be read
        // again must not get in.
        const next = v.parse(schema, change(contentOf(textOf())));
        try {
          replaceFile(path, `${JSON.stringify(next, null, 2)}\n`);
        } catch (error) {
          throw unusable(path, error);
        }
      });
    },
  };
}

// Items that are folders of this machine: what lies in them, links resolved, is covered.
import { realpathSync } from "node:fs";
import { isAbsolute, resolve } from "node:path";
import { isInside } from "../../../protocol/real-path.ts";
import { badItem, type KindRules } from "./kind.ts";

/** Where an absolute path really is; undefined where nothing is there, or it cannot be looked at. */
export function existingPath(path: string): string | undefined {
  if (!isAbsolute(path)) return undefined;
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

export function parseFolder(kind: string, text: string): string {
  if (!isAbsolute(text) || text.includes("\0")) throw badItem(kind, text, "it takes an absolute path");
  if (text.includes("*")) throw badItem(kind, text, "it takes a folder, which stands for all that is in it, and no *");
  return resolve(text);
}

/** What is not there can be compared with nothing: it is neither allowed by an item, nor let past one that denies. */
export const folderRules = (kind: string): KindRules<string> => ({
  parse: (text) => parseFolder(kind, text),
  matches(folder, value) {
    const [real, of] = [existingPath(value), existingPath(folder)];
    return real !== undefined && of !== undefined && isInside(of, real);
  },
  denies(folder, value) {
    const real = existingPath(value);
    return real === undefined || isInside(existingPath(folder) ?? folder, real);
  },
  taken: existingPath,
});

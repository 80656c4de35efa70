// Items that are folders of this machine: what lies in them, links resolved, is covered.
import { realpathSync } from "node:fs";
import { isAbsolute, resolve, sep } from "node:path";
import { badItem, type KindRules } from "./kind.ts";

/** Where an absolute path really is; undefined where nothing is there, or it cannot be looked at. */
export function realPath(path: string): string | undefined {
  if (!isAbsolute(path)) return undefined;
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}

/** By whole components: /srv/app-old is not in /srv/app. Both are real paths. */
export const isInside = (folder: string, path: string): boolean =>
  path === folder || path.startsWith(folder.endsWith(sep) ? folder : folder + sep);

export function parseFolder(kind: string, text: string): string {
  if (!isAbsolute(text) || text.includes("\0")) throw badItem(kind, text, "it takes an absolute path");
  if (text.includes("*")) throw badItem(kind, text, "it takes a folder, which stands for all that is in it, and no *");
  return resolve(text);
}

/** What is not there can be compared with nothing: it is neither allowed by an item, nor let past one that denies. */
export const folderRules = (kind: string): KindRules<string> => ({
  parse: (text) => parseFolder(kind, text),
  matches(folder, value) {
    const [real, of] = [realPath(value), realPath(folder)];
    return real !== undefined && of !== undefined && isInside(of, real);
  },
  denies(folder, value) {
    const real = realPath(value);
    return real === undefined || isInside(realPath(folder) ?? folder, real);
  },
  taken: realPath,
});

// Items that are folders of this machine: what lies in them, links resolved, is covered.
import { isAbsolute, resolve } from "node:path";
import { isInside, realPath } from "../../../protocol/real-path.ts";
import { badItem, type KindRules } from "./kind.ts";

export function parseFolder(kind: string, text: string): string {
  if (!isAbsolute(text) || text.includes("\0")) throw badItem(kind, text, "it takes an absolute path");
  if (text.includes("*")) throw badItem(kind, text, "it takes a folder, which stands for all that is in it, and no *");
  return resolve(text);
}

/** What is not there is where it would be: the keeper refuses it, and says why. A relative path cannot be compared. */
export const folderRules = (kind: string): KindRules<string> => ({
  parse: (text) => parseFolder(kind, text),
  matches: (folder, value) => isAbsolute(value) && isInside(realPath(folder), realPath(value)),
  denies: (folder, value) => !isAbsolute(value) || isInside(realPath(folder), realPath(value)),
  taken: (value) => (isAbsolute(value) ? realPath(value) : undefined),
});

// Where paths of this machine really are, and what lies in what: the grants of a runner and of a sandboxed recipe compare by it.
import { lstatSync, readlinkSync, realpathSync } from "node:fs";
import { posix } from "node:path";

/** On the way to nothing: Linux follows no more either. */
const MOST_LINKS = 40;

/**
 * Without links and `..`, as far as it is there and can be looked at. From the top: what is not there ends the look, however
 * long it goes on.
 */
export function realPath(path: string): string {
  try {
    return realpathSync(path);
  } catch {
    const partsOf = (one: string): string[] => one.split("/").filter(Boolean).reverse();
    const left = partsOf(posix.resolve(path));
    let real = "";
    for (let links = MOST_LINKS; left.length > 0; ) {
      const at = `${real}/${left.pop()}`;
      const target = targetOf(at);
      if (target === undefined || links === 0) return [at, ...left.reverse()].join("/");
      if (target === "") real = at;
      else {
        links--;
        left.push(...partsOf(posix.resolve(real || "/", target)));
        real = "";
      }
    }
    return real || "/";
  }
}

/** Where a link goes to, also one to nothing; empty where it is none, undefined where nothing can be seen. */
function targetOf(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : "";
  } catch {
    return undefined;
  }
}

/** By whole components: /srv/app-old is not in /srv/app, which is in itself. Both are real paths. */
export const isInside = (folder: string, path: string): boolean =>
  path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);

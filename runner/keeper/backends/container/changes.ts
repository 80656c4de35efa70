// What a command changed in its container, as the engine tells it. Pure. keep-files.ts and merge-files.ts ask.
import type { Container } from "../../../../protocol/place.ts";
import { SECRETS, WORKSPACE } from "./create-body.ts";

/** One path. `Kind`: 0 changed, or something in it was; 1 new; 2 gone. */
export interface Change {
  readonly Path: string;
  readonly Kind: number;
}

/** What engines put into a container themselves: its init, and the places they mount over. */
const OF_THE_ENGINE = [
  "/sbin/docker-init",
  "/run/podman-init",
  "/run/.containerenv",
  "/run/secrets",
  "/.dockerenv",
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/etc/mtab",
  "/dev/init",
  "/dev/console",
  "/proc",
  "/sys",
];

export const mountedIn = (container: Container): string[] => [
  WORKSPACE,
  SECRETS,
  ...container.mounts.map(({ target }) => target),
  ...container.tmpfs.map(({ target }) => target),
];

/** Without the paths where the engine mounted something, and those above them. */
export function ownChanges(changes: readonly Change[], mounted: readonly string[]): Change[] {
  const expected = [...OF_THE_ENGINE, ...mounted];
  return changes.filter(({ Path: path }) => !expected.some((one) => one === path || one.startsWith(`${path}/`)));
}

/** Which paths are to be removed, and which written with all below them, to bring these changes to other files. */
export function carried(changes: readonly Change[]): { readonly removed: string[]; readonly written: Change[] } {
  const made = new Set(changes.filter(({ Kind }) => Kind === 1).map(({ Path }) => Path));
  const above = new Set(changes.flatMap(({ Path }) => parentsOf(Path)));
  return {
    removed: changes.filter(({ Kind }) => Kind === 2).map(({ Path }) => Path),
    written: changes.filter(({ Path, Kind }) => {
      if (Kind === 2 || parentsOf(Path).some((parent) => made.has(parent))) return false;
      // Of a directory that was there before, only what is in it.
      return Kind === 1 || !above.has(Path);
    }),
  };
}

function parentsOf(path: string): string[] {
  const parents: string[] = [];
  for (let at = path.lastIndexOf("/"); at > 0; at = path.lastIndexOf("/", at - 1)) parents.push(path.slice(0, at));
  return parents;
}

// The grant `mount`: which directories and files of this machine containers may have, as real paths; an item grants what is
// below it, with `:ro` only to read. Some paths are as good as root, and those only an item of exactly that path grants.
import { statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { homeOf } from "../../../protocol/home.ts";
import { isInside, realPath } from "../../../protocol/real-path.ts";
import { badItem, type KindRules } from "./kind.ts";

interface MountItem {
  readonly path: string;
  readonly readOnly: boolean;
}

const GUARDED = "guarded:";

/** A path that itself ends so is told from the way it is mounted. */
export const mountValue = (source: string, readOnly: boolean): string =>
  `${source}${readOnly ? ":ro" : /:r[ow]$/.test(source) ? ":rw" : ""}`;

/** The path of a value that may be resolved. The mark is in front alone: a path may have the same in the midst of it. */
export const sourceOf = (value: string): string =>
  (value.startsWith(GUARDED) ? value.slice(GUARDED.length) : value).replace(/:r[ow]$/, "");

export const mountRules: KindRules<MountItem> = {
  async resolve(value) {
    // The keeper looks again, and refuses what is not there.
    const path = realPath(sourceOf(value));
    return { names: [`${isGuarded(path) ? GUARDED : ""}${mountValue(path, value.endsWith(":ro"))}`] };
  },
  parse(text) {
    const path = sourceOf(text);
    if (!path.startsWith("/") || path.includes("*"))
      throw badItem("mount", text, "an absolute path, which grants what is below it too; :ro behind it grants reading");
    return { path: realPath(path), readOnly: text.endsWith(":ro") };
  },
  matches(item, value) {
    if (item.readOnly && !value.endsWith(":ro")) return false;
    const path = sourceOf(value);
    return value.startsWith(GUARDED) ? path === item.path : isInside(item.path, path);
  },
  // What is above a path that is denied has it inside.
  denies: (item, value) => touches(item.path, sourceOf(value)),
  taken: sourceOf,
  // By the text alone: what is where on this machine is nothing for a peer.
  means: (value) =>
    /^\/+$|docker|podman|containerd|^\/(proc|sys|dev|run|var\/run|boot)(\/|$)/.test(sourceOf(value))
      ? "this may give a container the whole machine"
      : undefined,
  inAll: (value) => !value.startsWith(GUARDED),
  warning(item) {
    if (item === true)
      return "containers may read and write all that the engine can of this machine: mostly, all of it";
    return isGuarded(item.path)
      ? `${item.path} is, or has inside, what gives a container this machine: an engine's socket, the kernel's own files, or keys`
      : undefined;
  },
};

const touches = (one: string, other: string): boolean => isInside(one, other) || isInside(other, one);

/** At, above or below what gives a container the machine; and whatever is no directory and no file: a socket, a device. */
const isGuarded = (path: string): boolean => isSpecial(path) || guardedPaths().some((one) => touches(one, path));

function isSpecial(path: string): boolean {
  try {
    const stat = statSync(path, { throwIfNoEntry: false });
    return stat !== undefined && !stat.isDirectory() && !stat.isFile();
  } catch {
    // It may not be looked at.
    return true;
  }
}

function guardedPaths(): string[] {
  const { DOCKER_HOST = "", XDG_RUNTIME_DIR: own } = process.env;
  return [
    ...["/proc", "/sys", "/dev", "/boot"],
    ...["/run/docker.sock", "/var/run/docker.sock", "/run/podman", "/run/containerd", "/run/crio", "/run/systemd"],
    ...["/var/lib/docker", "/var/lib/containers", "/var/lib/containerd", "/var/lib/kubelet"],
    ...(own ? [`${own}/docker.sock`, `${own}/podman`, `${own}/systemd`] : []),
    ...(DOCKER_HOST.startsWith("unix://") ? [DOCKER_HOST.slice("unix://".length)] : []),
    // The user's keys to other machines and to registries, and an engine's socket with some of them.
    ...[join(homedir(), ".ssh"), join(homedir(), ".docker")],
    // What is in it is named by no job: keys, other jobs' directories, the audit.
    dirname(homeOf("runner")),
  ].map((path) => realPath(path));
}

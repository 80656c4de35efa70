// The grant `mount`: which directories and files of this machine containers may have, as real paths; an item grants what is
// below it, with `:ro` only to read. Some paths are as good as root, and those only an item of exactly that path grants.
import { lstatSync, readlinkSync, realpathSync, statSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join, posix } from "node:path";
import { homeOf } from "../../../protocol/home.ts";
import { badItem, type KindRules } from "./kind.ts";

interface MountItem {
  readonly path: string;
  readonly readOnly: boolean;
}

const GUARDED = "guarded:";
/** On the way to nothing: Linux follows no more either. */
const MOST_LINKS = 40;

/** A path that itself ends so is told from the way it is mounted. */
export const mountValue = (source: string, readOnly: boolean): string =>
  `${source}${readOnly ? ":ro" : /:r[ow]$/.test(source) ? ":rw" : ""}`;

/** The path of a value that may be resolved. The mark is in front alone: a path may have the same in the midst of it. */
export const sourceOf = (value: string): string =>
  (value.startsWith(GUARDED) ? value.slice(GUARDED.length) : value).replace(/:r[ow]$/, "");

export const mountRules: KindRules<MountItem> = {
  async resolve(value) {
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
    return value.startsWith(GUARDED) ? path === item.path : isWithin(item.path, path);
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

/**
 * Without links and `..`, as far as it is there and can be looked at; the keeper looks again, and refuses the rest. From the
 * top: what is not there ends the look, however long it goes on.
 */
function realPath(path: string): string {
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

const isWithin = (folder: string, path: string): boolean =>
  path === folder || path.startsWith(folder === "/" ? "/" : `${folder}/`);
const touches = (one: string, other: string): boolean => isWithin(one, other) || isWithin(other, one);

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

// Which program a name means on this machine, and what is known of programs.
import { accessSync, constants, realpathSync, type Stats, statSync } from "node:fs";
import { basename, delimiter, dirname, isAbsolute, join } from "node:path";
import { realPath } from "../../../protocol/real-path.ts";

/** PATH_MAX and NAME_MAX of Linux: what is longer is nowhere, and is not looked at any closer. */
const LONGEST_PATH = 4_096;
const LONGEST_NAME = 255;

/**
 * The path of the program: the folder with its links resolved, and the name as it was asked for. Not the file's own
 * real path: there a permitted `ls` of busybox would be busybox, and so `sh` as well. Undefined for a relative path, and
 * where there is no such program. A name is looked up on `path`, without its empty and its relative entries, which
 * would mean wherever a job happens to run.
 */
export function findProgram(program: string, path: string = process.env["PATH"] ?? ""): string | undefined {
  if (program.length > LONGEST_PATH || program.includes("\0")) return undefined;
  if (program.includes("/")) return isAbsolute(program) && !program.endsWith("/") ? settled(program) : undefined;
  for (const folder of path.split(delimiter)) {
    const found = isAbsolute(folder) ? settled(join(folder, program)) : undefined;
    if (found !== undefined) return found;
  }
  return undefined;
}

function settled(path: string): string | undefined {
  const name = basename(path);
  if (name === "." || name === ".." || name === "") return undefined;
  try {
    const found = join(realpathSync(dirname(path)), name);
    accessSync(found, constants.X_OK);
    return statSync(found).isFile() ? found : undefined;
  } catch {
    return undefined;
  }
}

/** The name behind all links. */
export function targetName(path: string): string | undefined {
  try {
    return basename(realpathSync(path));
  } catch {
    return undefined;
  }
}

export function isSameFile(one: string, other: string): boolean {
  try {
    const [a, b] = [statSync(one), statSync(other)] as [Stats, Stats];
    return a.ino === b.ino && a.dev === b.dev;
  } catch {
    return false;
  }
}

/** Whether this process's user could put something else in the program's place. Root can everywhere, so it is not asked. */
export function isReplaceable(path: string): boolean {
  if (process.getuid?.() === 0) return false;
  return [path, dirname(path), dirname(realPath(path))].some((one) => {
    try {
      accessSync(one, constants.W_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/**
 * Programs that start whatever their arguments, files or settings say: `git -c alias.x='!cmd' x` does. Who may run one of
 * them may run everything. No list of them can be whole: what is not in it is not safe for that.
 */
const STARTS_ANYTHING = new Set([
  // Shells and what has one built in.
  ...[
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "fish",
    "ksh",
    "mksh",
    "csh",
    "tcsh",
    "pwsh",
    "busybox",
    "toybox",
    "screen",
    "tmux",
  ],
  // Languages.
  ...["node", "nodejs", "deno", "bun", "tsx", "python", "pypy", "perl", "ruby", "irb", "php", "lua", "luajit", "tclsh"],
  ...[
    "expect",
    "java",
    "javac",
    "jshell",
    "groovy",
    "scala",
    "kotlin",
    "go",
    "rustc",
    "gcc",
    "g++",
    "cc",
    "clang",
    "awk",
  ],
  ...["gawk", "mawk", "nawk", "sed", "gdb", "lldb", "R", "Rscript", "julia", "guile", "ghc", "ocaml", "erl", "elixir"],
  // Package managers and build tools: their files and their packages are programs.
  ...["npm", "npx", "pnpm", "pnpx", "yarn", "corepack", "pip", "pipx", "uv", "uvx", "poetry", "gem", "bundle", "rake"],
  ...["composer", "cargo", "make", "gmake", "cmake", "ninja", "meson", "bazel", "mvn", "gradle", "ant", "just", "task"],
  ...["apt", "apt-get", "dpkg", "rpm", "dnf", "yum", "apk", "nix", "brew", "snap", "flatpak"],
  // What runs what stands behind it, or in its options.
  ...[
    "git",
    "hg",
    "svn",
    "env",
    "xargs",
    "find",
    "fd",
    "parallel",
    "nice",
    "ionice",
    "nohup",
    "timeout",
    "setsid",
    "stdbuf",
  ],
  ...["time", "watch", "script", "strace", "ltrace", "sudo", "su", "doas", "run0", "runuser", "setpriv", "chroot"],
  ...[
    "unshare",
    "nsenter",
    "systemd-run",
    "flock",
    "taskset",
    "chrt",
    "tar",
    "zip",
    "rsync",
    "ssh",
    "scp",
    "sftp",
    "socat",
  ],
  ...[
    "nc",
    "ncat",
    "vi",
    "vim",
    "nvim",
    "emacs",
    "nano",
    "ed",
    "less",
    "more",
    "man",
    "crontab",
    "at",
    "batch",
    "ansible",
  ],
  // Engines: a container with the machine's root mounted is the machine.
  ...["docker", "podman", "nerdctl", "ctr", "crictl", "kubectl", "helm", "lxc", "machinectl", "buildah", "terraform"],
]);

/** By its name, also with a version behind it: python3.12. */
export const startsAnything = (name: string): boolean =>
  name.length <= LONGEST_NAME && (STARTS_ANYTHING.has(name) || STARTS_ANYTHING.has(name.replace(/[-.\d]+$/, "")));

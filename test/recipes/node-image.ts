// An image with this Node, npm and busybox, for tests of recipes that run in an image of Node: no registry is in reach.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const APPLETS = ["sh", "cp", "env", "cat", "ls", "mkdir", "rm", "uname"];
const pathOf = (program: string): string =>
  realpathSync(execFileSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).trim());

/** Makes it under that name, laid out as Node's own images are. Disposing it removes it. */
export function nodeImage(host: string, name: string): Disposable {
  const root = mkdtempSync(join(tmpdir(), "sortie-test-"));
  const put = (from: string, to: string): void => {
    mkdirSync(join(root, dirname(to)), { recursive: true });
    cpSync(from, join(root, to), { recursive: true, dereference: true });
  };
  try {
    put(process.execPath, "usr/local/bin/node");
    const libraries = execFileSync("ldd", [process.execPath], { encoding: "utf8" });
    for (const [library] of libraries.matchAll(/\/\S+/g)) put(library, library);
    put(join(dirname(pathOf("npm")), ".."), "usr/local/lib/npm");
    symlinkSync("../lib/npm/bin/npm-cli.js", join(root, "usr/local/bin/npm"));
    put(pathOf("busybox"), "bin/busybox");
    for (const applet of APPLETS) symlinkSync("busybox", join(root, "bin", applet));
    mkdirSync(join(root, "usr/bin"));
    symlinkSync("/bin/busybox", join(root, "usr/bin/env"));
    for (const folder of ["tmp", "root"]) mkdirSync(join(root, folder));
    const path = "ENV PATH=/usr/local/bin:/usr/bin:/bin";
    execFileSync("sh", ["-c", 'tar -C "$0" -cf - . | docker -H "$1" import -c "$2" - "$3"', root, host, path, name]);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
  return { [Symbol.dispose]: () => void execFileSync("docker", ["-H", host, "rmi", "--force", name]) };
}

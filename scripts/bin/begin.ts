// A command's first act. Nothing large is loaded yet, and an old Node can read this far.
import { mkdirSync, statSync } from "node:fs";
import module from "node:module";
import { homedir } from "node:os";
import { isAbsolute, join } from "node:path";

const NEEDED = 24;

/** Leaves with a clear word under a Node that is too old; turns the compile cache on before anything large is loaded. */
export function begin(): void {
  if (Number(process.versions.node.split(".")[0]) < NEEDED) {
    process.stderr.write(
      `error[USAGE]: Sortie needs Node ${NEEDED} or newer, and this is ${process.version}.\n  hint: In the repository, start it with npx: that uses the Node it brings.\n`,
    );
    process.exit(2);
  }
  const folder = compileCacheFolder();
  if (folder) module.enableCompileCache(folder);
}

/**
 * $XDG_CACHE_HOME/sortie, else ~/.cache/sortie; `undefined` where that is not this user's alone. Node's own default is
 * one path under the shared temporary folder, and it runs what it finds there without asking who put it there: whoever
 * makes that folder first could give other users' runners their code. NODE_COMPILE_CACHE, where set, comes first.
 */
function compileCacheFolder(): string | undefined {
  try {
    const { XDG_CACHE_HOME: own } = process.env;
    const folder = join(own && isAbsolute(own) ? own : join(homedir(), ".cache"), "sortie");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(folder);
    const isOurs = process.getuid === undefined || (uid === process.getuid() && (mode & 0o022) === 0);
    return isOurs ? folder : undefined;
  } catch {
    // No home, or one that cannot be written: a command then starts some milliseconds later.
    return undefined;
  }
}

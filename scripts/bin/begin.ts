// A command's first act. Nothing large is loaded yet, and an old Node can read this far.
import module from "node:module";

const NEEDED = 24;

/** Leaves with a clear word under a Node that is too old; turns the compile cache on before anything large is loaded. */
export function begin(): void {
  if (Number(process.versions.node.split(".")[0]) < NEEDED) {
    process.stderr.write(
      `error[USAGE]: Sortie needs Node ${NEEDED} or newer, and this is ${process.version}.\n  hint: In the repository, start it with npx: that uses the Node it brings.\n`,
    );
    process.exit(2);
  }
  module.enableCompileCache();
}

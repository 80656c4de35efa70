// `coordinator run --detach`: the same command again, in a process and a session of its own. This one waits until the
// run is on record, so that what is wrong with a recipe or a runner is told here.
import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SortieError } from "../protocol/errors.ts";
import type { RunId } from "../protocol/ids.ts";

/** Set for the process that conducts the run, and for nothing that it starts. */
const MARK = "SORTIE_DETACHED";
/** Whether this process is one that nobody watches. */
export const isDetached = process.env[MARK] === "1" && process.send !== undefined;
delete process.env[MARK];

const DETACH = /^--detach(=.*)?$/;

/** Gives the run's id once it has begun. A command that ends before has told why, and this process exits as it did. */
export async function runDetached(): Promise<string> {
  const [, program = "", ...args] = process.argv;
  const folder = mkdtempSync(join(tmpdir(), "sortie-detach-"));
  try {
    const words = openSync(join(folder, "stderr"), "w", 0o600);
    const child = spawn(process.execPath, [...process.execArgv, program, ...args.filter((one) => !DETACH.test(one))], {
      detached: true,
      stdio: ["ignore", "ignore", words, "ipc"],
      env: { ...process.env, [MARK]: "1" },
    });
    return await new Promise<string>((resolve, reject) => {
      child.once("message", (run: string) => {
        // From here on its end is its own: a short run may be over before this process is.
        child.removeAllListeners("exit");
        child.disconnect();
        child.unref();
        resolve(run);
      });
      child.once("error", (error) => reject(new SortieError("INTERNAL", error.message)));
      child.once("exit", (code) => {
        process.stderr.write(readFileSync(join(folder, "stderr")));
        process.exit(code ?? 1);
      });
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** In the detached process: the run has begun. */
export function tellParent(run: RunId): void {
  if (!isDetached) return;
  process.send?.(run);
  process.disconnect?.();
}

// `coordinator run --detach`: the same command again, in a process and a session of its own. This one waits until the
// run is on record, so that what is wrong with a recipe or a runner is told here.
import { spawn } from "node:child_process";
import { fstatSync, mkdtempSync, openSync, readSync, rmSync } from "node:fs";
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
export function runDetached(): Promise<string> {
  const [, program = "", ...args] = process.argv;
  const words = openWords();
  const child = spawn(process.execPath, [...process.execArgv, program, ...args.filter((one) => !DETACH.test(one))], {
    detached: true,
    stdio: ["ignore", "ignore", words, "ipc"],
    env: { ...process.env, [MARK]: "1" },
  });
  return new Promise<string>((resolve, reject) => {
    child.once("message", (run: string) => {
      // From here on its end is its own: a short run may be over before this process is.
      child.removeAllListeners("exit");
      child.disconnect();
      child.unref();
      resolve(run);
    });
    child.once("error", (error) => reject(new SortieError("INTERNAL", error.message)));
    child.once("exit", (code) => {
      const text = Buffer.alloc(fstatSync(words).size);
      process.stderr.write(text.subarray(0, readSync(words, text, 0, text.length, 0)));
      process.exit(code ?? 1);
    });
  });
}

/** For what the other process says: a file without a name, of which nothing is left however both end. */
function openWords(): number {
  const folder = mkdtempSync(join(tmpdir(), "sortie-detach-"));
  try {
    return openSync(join(folder, "stderr"), "wx+", 0o600);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** In the detached process: the run has begun. */
export function tellParent(run: RunId): void {
  if (!isDetached) return;
  process.send?.(run);
  process.disconnect?.();
}

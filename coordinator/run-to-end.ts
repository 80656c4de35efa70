// A run from a command: Ctrl-C cancels it, twice leaves at once, and how it came out is the exit code.
import { exitCodes } from "../protocol/errors.ts";
import { interruptSignal } from "../protocol/interrupt.ts";
import { tellParent } from "./detach.ts";
import type { RunOptions } from "./run-options.ts";
import { isWatched, tellWatcher } from "./watched.ts";

export const exitCodeOfRun = {
  passed: exitCodes.passed,
  failed: exitCodes.failed,
  cancelled: exitCodes.interrupted,
  lost: exitCodes.infrastructure,
} as const;

export async function runToEnd(
  options: Omit<RunOptions, "cancelled" | "onKillable" | keyof typeof tellWatcher>,
): Promise<number> {
  let kill = (): Promise<void> | undefined => undefined;
  const cancelled = interruptSignal(() => kill());
  const { runRecipe } = await import("./run.ts");
  const outcome = await runRecipe({
    ...options,
    cancelled,
    onKillable: (killable) => {
      kill = killable;
    },
    ...(isWatched ? tellWatcher : { onStarted: tellParent }),
  });
  return exitCodeOfRun[outcome];
}

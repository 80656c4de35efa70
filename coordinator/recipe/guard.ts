// A recipe is somebody's program, and may never finish loading, or end the process that loads it. The loader waits
// through this, so that neither passes for a run that went well.
import { printError } from "../../protocol/command-line.ts";
import { exitCodes, SortieError } from "../../protocol/errors.ts";
import { lineOf, ownFrame } from "./own-place.ts";

interface Guarded {
  readonly file: string;
  readonly source: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Settles as `load()` does. Rejects with RECIPE_THREW when nothing is left that could settle it, and with INTERRUPTED
 * when the signal is aborted. A recipe that calls process.exit() is told about, and makes the exit code 2.
 */
export async function guarded<T>(load: () => Promise<T>, { file, source, signal }: Guarded): Promise<T> {
  const { promise: never, reject } = Promise.withResolvers<never>();
  const onInterrupt = (): void => reject(new SortieError("INTERRUPTED", "Interrupted while the recipe was loaded."));
  /** The event loop is empty: nothing can settle the promise any more. */
  const onStalled = (): void =>
    reject(
      new SortieError("RECIPE_THREW", "The recipe awaits a promise at its top level that is never settled.", {
        at: { file, line: lineOf(source, /^[^\n/'"`]*\bawait\b/m) },
        hint: "Correct what it awaits.",
      }),
    );
  const onExit = (): void => {
    const limit = Error.stackTraceLimit;
    Error.stackTraceLimit = 100;
    // Sortie itself may end the process as well (Ctrl-C twice): only the recipe's own call has the recipe on its stack.
    const at = ownFrame(new Error("exit").stack ?? "", file);
    Error.stackTraceLimit = limit;
    if (!at) return;
    process.exitCode = exitCodes.usage;
    printError(new SortieError("RECIPE_THREW", "The recipe called process.exit() while it was loaded.", { at }), false);
  };
  process.once("beforeExit", onStalled);
  process.once("exit", onExit);
  signal?.addEventListener("abort", onInterrupt, { once: true });
  if (signal?.aborted) onInterrupt();
  try {
    return await Promise.race([never, load()]);
  } finally {
    process.off("beforeExit", onStalled);
    process.off("exit", onExit);
    signal?.removeEventListener("abort", onInterrupt);
  }
}

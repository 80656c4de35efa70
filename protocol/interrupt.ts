// Ctrl-C: once asks, twice leaves at once.
import { exitCodes } from "./errors.ts";

/**
 * A second signal within this time is the first one again: a terminal sends Ctrl-C to every process in front of it, and
 * npx, which is one of them, passes it on to the command it started.
 */
const SAME_PRESS_MS = 300;

/** Aborted by the first SIGINT or SIGTERM. At the second `leave` is called, and the process exits with 130, at once or when what it gives is over. */
export function interruptSignal(leave: () => Promise<void> | undefined | void): AbortSignal {
  const controller = new AbortController();
  let askedAt = 0;
  const onSignal = (): void => {
    if (!controller.signal.aborted) {
      askedAt = performance.now();
      return controller.abort("user");
    }
    if (performance.now() - askedAt < SAME_PRESS_MS) return;
    const left = leave();
    if (!left) process.exit(exitCodes.interrupted);
    void left.finally(() => process.exit(exitCodes.interrupted));
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return controller.signal;
}

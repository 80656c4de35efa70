// Ctrl-C: once asks, twice leaves at once.
import { exitCodes } from "../protocol/errors.ts";

/** Aborted by the first SIGINT or SIGTERM. At the second `leave` is called and the process exits with 130. */
export function interruptSignal(leave: () => void): AbortSignal {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (!controller.signal.aborted) return controller.abort("user");
    leave();
    process.exit(exitCodes.interrupted);
  };
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  return controller.signal;
}

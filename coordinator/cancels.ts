// Cancellations that another terminal asked for: they are in the store, and the run's own process looks for them.
import type { JobName, RunId } from "../protocol/ids.ts";
import type { Store } from "./store/store.ts";

const LOOK_EVERY_MS = 200;

/** `signal` is aborted by `own`, or when the whole run is to be cancelled. `stop` ends the looking. */
export function listenForCancels(
  store: Store,
  run: RunId,
  own: AbortSignal,
): {
  readonly signal: AbortSignal;
  /** Takes the function that cancels one job. It is called again and again: what is between two places cannot be cancelled yet. */
  cancelsJobs(cancelJob: (name: JobName) => void): void;
  stop(): void;
} {
  const asked = new AbortController();
  let cancelJob: ((name: JobName) => void) | undefined;
  const timer = setInterval(() => {
    try {
      const { all, jobs } = store.cancellations(run);
      if (all) asked.abort("user");
      for (const job of jobs) cancelJob?.(job);
    } catch {
      // The store tells its own failures where something is written.
    }
  }, LOOK_EVERY_MS);
  timer.unref();
  return {
    signal: AbortSignal.any([own, asked.signal]),
    cancelsJobs(next) {
      cancelJob = next;
    },
    stop: () => clearInterval(timer),
  };
}

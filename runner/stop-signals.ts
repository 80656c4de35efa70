// How a runner is asked to stop: the first SIGINT or SIGTERM drains it, the second cancels what runs, a third leaves at
// once, and the keeper does the rest. SIGUSR2 drains it however often it comes: `runner drain` sends that.

/** A second signal within this time is the first one again: npx passes on what the terminal sent to all. */
const SAME_PRESS_MS = 300;

export interface StopSignals {
  readonly drain: AbortSignal;
  readonly cancel: AbortSignal;
  close(): void;
}

export function stopSignals(): StopSignals {
  const drain = new AbortController();
  const cancel = new AbortController();
  let askedAt = Number.NEGATIVE_INFINITY;
  const onSignal = (): void => {
    if (performance.now() - askedAt < SAME_PRESS_MS) return;
    askedAt = performance.now();
    if (cancel.signal.aborted) process.exit(130);
    if (drain.signal.aborted) cancel.abort();
    drain.abort();
  };
  const onDrain = (): void => drain.abort();
  process.on("SIGINT", onSignal);
  process.on("SIGTERM", onSignal);
  process.on("SIGUSR2", onDrain);
  return {
    drain: drain.signal,
    cancel: cancel.signal,
    close() {
      process.off("SIGINT", onSignal);
      process.off("SIGTERM", onSignal);
      process.off("SIGUSR2", onDrain);
    },
  };
}

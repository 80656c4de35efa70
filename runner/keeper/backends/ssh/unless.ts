// Waiting that can be given up, for everything here that other jobs may wait for as well.

/** What is under way goes on, for whoever else wants it; only this one waits no longer, and has the signal's reason. */
export async function unless<Value>(cancelled: AbortSignal, promise: Promise<Value>): Promise<Value> {
  promise.catch(() => {});
  cancelled.throwIfAborted();
  const aborted = Promise.withResolvers<never>();
  const abort = (): void => aborted.reject(cancelled.reason);
  cancelled.addEventListener("abort", abort, { once: true });
  try {
    return await Promise.race([promise, aborted.promise]);
  } finally {
    cancelled.removeEventListener("abort", abort);
  }
}

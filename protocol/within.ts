// Waiting for somebody who may be silent for ever, for so long and no longer. The timer keeps the process meanwhile: with
// AbortSignal.timeout(), and nothing else under way, it would end in the middle.
import { setTimeout as delay } from "node:timers/promises";

/** What it resolves with; undefined where it takes longer, and then nobody waits for it any more. */
export async function within<T>(promise: Promise<T>, ms: number): Promise<T | undefined> {
  const timer = new AbortController();
  promise.catch(() => {});
  const late = delay(ms, undefined, { signal: timer.signal });
  late.catch(() => {});
  try {
    return await Promise.race([promise, late]);
  } finally {
    timer.abort();
  }
}

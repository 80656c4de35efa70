// The rule for outputs that something holds open after the command's own exit, for every backend that can see them.
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "../../../protocol/limits.ts";

export const DRAIN_TICK_MS = 50;

/** The outputs at one moment. */
export interface Look {
  /** Bytes so far. */
  readonly received: number;
  /** Something waits for its reader, so its silence says nothing. */
  readonly waiting: boolean;
  /** What waits may be the command's own last words, and those wait for as long as the reader likes. */
  readonly own: boolean;
}

/**
 * True once it is `over`; false when the outputs were quiet, or went on, for too long although they were being read, and
 * as soon as it is `interrupted`.
 */
export async function overOrQuiet(
  over: Promise<true>,
  look: () => Look,
  interrupted: () => boolean = () => false,
): Promise<boolean> {
  let before = -1;
  for (let quiet = 0, open = 0; quiet < limits.drainQuietMs && open < limits.drainMaximumMs; ) {
    if (await Promise.race([over, delay(DRAIN_TICK_MS, false)])) return true;
    if (interrupted()) return false;
    const { received, waiting, own } = look();
    if (waiting && own) {
      quiet = 0;
      continue;
    }
    quiet = received === before && !waiting ? quiet + DRAIN_TICK_MS : 0;
    open += DRAIN_TICK_MS;
    before = received;
  }
  return false;
}

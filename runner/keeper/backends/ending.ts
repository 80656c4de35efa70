// What a cancellation found, as an exit holds it: so many processes by name, and the count of the others.
import type { Ending } from "../../../protocol/exit.ts";
import { limits } from "../../../protocol/limits.ts";

export const NOTHING_ENDED: Ending = { ended: [], survivors: [] };

/** `unlisted`: those that were not even remembered. */
export function endingOf(ended: Ending["ended"], survivors: Ending["survivors"], unlisted = 0): Ending {
  const most = limits.endedProcesses;
  const more = unlisted + Math.max(0, ended.length - most) + Math.max(0, survivors.length - most);
  return { ended: ended.slice(0, most), survivors: survivors.slice(0, most), ...(more > 0 ? { more } : {}) };
}

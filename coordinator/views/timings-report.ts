// `--timings`: where a run's time went, told when it is over.
import type { EventReader } from "../events.ts";
import { paintFor, writeTo } from "./format.ts";
import { renderTimings } from "./gantt.ts";
import { collectTimings } from "./timings.ts";

export function timingsReport(out: NodeJS.WriteStream): EventReader {
  const collected = collectTimings();
  return {
    on: collected.on,
    close() {
      const timings = collected.timings();
      if (timings) return writeTo(out, `${renderTimings(timings, out.columns ?? 80, paintFor(out))}\n`);
    },
  };
}

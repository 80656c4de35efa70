// Which view shows a run, and several readers as one.
import { isDetached } from "../detach.ts";
import type { EventReader } from "../events.ts";
import { jsonView } from "./json.ts";
import { plainView } from "./plain.ts";

export const formats = ["auto", "live", "plain", "json"] as const;
export type Format = (typeof formats)[number];

/** `auto`: live in a terminal, plain lines elsewhere; where nothing can be redrawn, `live` is plain too. */
export async function chooseView(format: Format, out: NodeJS.WriteStream = process.stdout): Promise<EventReader> {
  if (isDetached) return { on() {}, close() {} };
  if (format === "json") return jsonView(out);
  const canDraw = out.isTTY && process.env["TERM"] !== "dumb";
  if (!canDraw || format === "plain" || (format === "auto" && process.env["CI"])) return plainView(out);
  const { liveView } = await import("./live.ts");
  return liveView(out);
}

/** Hands each event to every reader, in order, and waits for all of them. */
export function combine(readers: readonly EventReader[]): EventReader {
  return {
    on(event) {
      let waits: Promise<void>[] | undefined;
      for (const reader of readers) {
        const wait = reader.on(event);
        if (wait) (waits ??= []).push(wait);
      }
      return waits && Promise.all(waits).then(() => {});
    },
    async close() {
      for (const reader of readers) await reader.close();
    },
  };
}

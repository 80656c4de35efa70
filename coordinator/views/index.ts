// Which view shows a run, and several readers as one.
import type { EventReader } from "../events.ts";
import { jsonView } from "./json.ts";
import { plainView } from "./plain.ts";

export const formats = ["auto", "live", "plain", "json"] as const;
export type Format = (typeof formats)[number];

/** `auto`: a live tree in a terminal, plain lines elsewhere. */
export async function chooseView(format: Format, out: NodeJS.WriteStream = process.stdout): Promise<EventReader> {
  if (format === "json") return jsonView(out);
  const live =
    format === "live" || (format === "auto" && out.isTTY && process.env["TERM"] !== "dumb" && !process.env["CI"]);
  if (!live) return plainView(out);
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

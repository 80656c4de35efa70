// One event a line, for programs: the events of events.ts as they are, but an output's bytes as text where they are
// valid UTF-8, and as base64 where not.
import type { EventReader } from "../events.ts";
import { writeTo } from "./format.ts";

export function jsonView(out: NodeJS.WriteStream): EventReader {
  return {
    on(event) {
      if (event.type !== "job-output") return writeTo(out, `${JSON.stringify(event)}\n`);
      const { bytes, ...rest } = event;
      return writeTo(out, `${JSON.stringify({ ...rest, ...contentOf(bytes) })}\n`);
    },
    close() {},
  };
}

function contentOf(bytes: Uint8Array): { text: string } | { base64: string } {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { base64: Buffer.from(bytes).toString("base64") };
  }
}

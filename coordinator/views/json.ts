// One event a line, for programs: the events of events.ts as they are, but an output's bytes as text where they are
// valid UTF-8, and as base64 where not. docs/logs.md lists them.
import { isUtf8 } from "node:buffer";
import { jsonLine } from "../../protocol/text.ts";
import type { EventReader } from "../events.ts";
import { writeTo } from "./format.ts";

export function jsonView(out: NodeJS.WriteStream): EventReader {
  return {
    on(event) {
      if (event.type === "run-started" && event.params) {
        // Of a value from a file or the environment only the key: output is often kept where others read it.
        const params = event.params.map(({ text, ...param }) => (param.from === "option" ? { ...param, text } : param));
        return writeTo(out, `${jsonLine({ ...event, params })}\n`);
      }
      if (event.type !== "job-output") return writeTo(out, `${jsonLine(event)}\n`);
      const { bytes, ...rest } = event;
      const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
      const content = isUtf8(buffer) ? { text: buffer.toString() } : { base64: buffer.toString("base64") };
      return writeTo(out, `${jsonLine({ ...rest, ...content })}\n`);
    },
    close() {},
  };
}

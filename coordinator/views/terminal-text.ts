// One output of a job as text that cannot act on the terminal it is shown in, as it comes: an unfinished line is shown
// too, so a prompt or a row of dots is seen when it is written. `coordinator logs` uses it.
import { StringDecoder } from "node:string_decoder";
import { harmless } from "../../protocol/text.ts";

// biome-ignore lint/suspicious/noControlCharactersInRegex: what a colour begins with, or a line's end in two characters.
const unfinished = /(?:\u001b(?:\[[0-9;:]{0,40})?|\r)$/;

export interface TerminalText {
  push(bytes: Uint8Array): string;
  /** What was held back, and the end of a colour that the job left on. */
  end(): string;
}

/** Colours stay; a carriage return ends a line, so that nothing is overwritten unseen; other controls show as dots. */
export function terminalText(): TerminalText {
  const decoder = new StringDecoder("utf8");
  let held = "";
  let coloured = false;
  const shown = (text: string): string => {
    const safe = harmless(text.replace(/\r\n?/g, "\n"), true);
    coloured ||= safe.includes("\u001b");
    return safe;
  };
  return {
    push(bytes) {
      const text = held + decoder.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
      const begins = unfinished.exec(text.slice(-50));
      held = begins ? begins[0] : "";
      return shown(text.slice(0, text.length - held.length));
    },
    end() {
      const rest = shown(held + decoder.end());
      held = "";
      return coloured ? `${rest}\u001b[0m` : rest;
    },
  };
}

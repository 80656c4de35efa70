// Cuts the outputs of one job into whole lines, bounded: an endless line is shown in pieces.
import { StringDecoder } from "node:string_decoder";

/** A line longer than this is shown in pieces of this many characters. */
const LONGEST = 16 * 1024;

export interface LineCutter {
  /** The whole lines that these bytes end. */
  push(bytes: Uint8Array): string[];
  /** What is left when the output ends; `undefined` for nothing. */
  rest(): string | undefined;
}

export function lineCutter(): LineCutter {
  const decoder = new StringDecoder("utf8");
  let partial = "";
  return {
    push(bytes) {
      const pieces = (partial + decoder.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length))).split("\n");
      partial = pieces.pop() ?? "";
      while (partial.length > LONGEST) {
        pieces.push(partial.slice(0, LONGEST));
        partial = partial.slice(LONGEST);
      }
      return pieces.flatMap((line) => (line.length > LONGEST ? cut(line) : [line]));
    },
    rest() {
      const last = partial + decoder.end();
      partial = "";
      return last === "" ? undefined : last;
    },
  };
}

function cut(line: string): string[] {
  return Array.from({ length: Math.ceil(line.length / LONGEST) }, (_, index) =>
    line.slice(index * LONGEST, (index + 1) * LONGEST),
  );
}

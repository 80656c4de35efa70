// Cuts an output of a job into whole lines, bounded: an endless line is shown in pieces.
import { StringDecoder } from "node:string_decoder";

/** A line longer than this is shown in pieces of at most this many characters. */
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
      const text = decoder.write(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length));
      if (partial.length + text.length <= LONGEST && !text.includes("\n")) {
        partial += text;
        return [];
      }
      const lines = (partial + text).split("\n");
      partial = lines.pop() ?? "";
      if (partial.length > LONGEST) {
        const pieces = cut(partial);
        partial = pieces.pop() ?? "";
        return [...lines.flatMap(cut), ...pieces];
      }
      return lines.some((line) => line.length > LONGEST) ? lines.flatMap(cut) : lines;
    },
    rest() {
      const last = partial + decoder.end();
      partial = "";
      return last === "" ? undefined : last;
    },
  };
}

function cut(line: string): string[] {
  const pieces: string[] = [];
  let at = 0;
  while (line.length - at > LONGEST) {
    // Not between the halves of a character.
    const next = at + LONGEST - (isHighSurrogate(line.charCodeAt(at + LONGEST - 1)) ? 1 : 0);
    pieces.push(line.slice(at, next));
    at = next;
  }
  pieces.push(at === 0 ? line : line.slice(at));
  return pieces;
}

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xdc00;

// The lines of what a command writes: bytes that come in any pieces, as text; and who takes them. command.ts calls it.
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";

/**
 * Lines without their ends, which are `\n` or `\r\n`; the last one need not have one. What is no UTF-8 becomes U+FFFD.
 * `isCut` says at the end whether the bytes were cut off: half a line must not look like a whole one. Throws
 * OUTPUT_TOO_LONG for a line of more than 16 MiB.
 */
export async function* linesOf(
  source: AsyncIterable<Uint8Array>,
  command: string,
  isCut: () => boolean,
): AsyncGenerator<string, void, undefined> {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let rest = "";
  for await (const bytes of source) {
    const [first = "", ...others] = decoder.decode(bytes, { stream: true }).split("\n");
    rest += first;
    if (rest.length > limits.collectedBytes)
      throw new SortieError("OUTPUT_TOO_LONG", `${command} wrote a line of more than 16 MiB.`);
    for (const next of others) {
      yield rest.replace(/\r$/, "");
      rest = next;
    }
  }
  rest += decoder.decode();
  if (rest !== "" && !isCut()) yield rest.replace(/\r$/, "");
}

/** Lines as a function gets them. */
export interface GivenLines {
  readonly lines: AsyncGenerator<string, void, undefined>;
  /** Whether a line was ever asked for. */
  wasAsked(): boolean;
  /** Whether nobody waits for a line, or works on one within a loop: a loop that is left says so, `.next()` does not. */
  isLeft(): boolean;
}

/** `onGiven` is called after each line that `.next()` gave. */
export function givenLines(lines: AsyncGenerator<string, void, undefined>, onGiven: () => void): GivenLines {
  let asked = false;
  let waiting = 0;
  let looped = false;
  return {
    lines: {
      async next() {
        asked = true;
        waiting++;
        try {
          return await lines.next();
        } finally {
          waiting--;
          onGiven();
        }
      },
      return: (value) => lines.return(value),
      throw: (error) => lines.throw(error),
      [Symbol.asyncIterator]() {
        asked = true;
        looped = true;
        return lines;
      },
      [Symbol.asyncDispose]: () => lines[Symbol.asyncDispose](),
    },
    wasAsked: () => asked,
    isLeft: () => waiting === 0 && !looped,
  };
}

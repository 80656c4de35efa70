// What was typed at a terminal before a question was asked, and is no answer to it. Both sides ask questions.
import { setImmediate as turn } from "node:timers/promises";

/** As many lines as a terminal holds, of its 4 KiB: who types on meanwhile does not keep the question away for ever. */
const MOST_LINES = 4_096;

/**
 * Resolves once whoever listens to the input was given all that was typed so far, however long this process was held up. It
 * has to flow. A terminal gives no more than a line at a time.
 */
export async function typedBefore(input: NodeJS.ReadableStream): Promise<void> {
  let came = true;
  const note = (): void => {
    came = true;
  };
  input.on("data", note);
  for (let lines = 0; came && lines < MOST_LINES; lines++) {
    came = false;
    // In the second turn it surely was looked at what there is.
    await turn();
    await turn();
  }
  input.off("data", note);
}

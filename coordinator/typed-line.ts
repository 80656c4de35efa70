// A line that a person types at the terminal. The terminal stays as it is: it echoes, edits and makes signals of Ctrl-C.
// questions.ts calls it.
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { limits } from "../protocol/limits.ts";
import { typedBefore } from "../protocol/typed-before.ts";

/** Throws away what was typed before: it was no answer to what is asked now. */
export async function forgetTyped(input: NodeJS.ReadStream): Promise<void> {
  const forget = (): void => {};
  input.on("data", forget);
  await delay(limits.typedBeforeMs);
  // A process that was held up for as long has read nothing of it yet.
  await typedBefore(input);
  input.off("data", forget);
  input.pause();
}

/** The next line, without its end; undefined where the terminal was closed (Ctrl-D). Rejects with the signal's reason. */
export async function typedLine(input: NodeJS.ReadStream, signal: AbortSignal): Promise<string | undefined> {
  signal.throwIfAborted();
  if (input.readableEnded || input.destroyed) return undefined;
  const typed = Promise.withResolvers<string | undefined>();
  const reader = createInterface({ input, terminal: false });
  const abort = (): void => typed.reject(signal.reason);
  signal.addEventListener("abort", abort, { once: true });
  reader.once("line", typed.resolve);
  reader.once("close", () => typed.resolve(undefined));
  reader.once("error", () => typed.resolve(undefined));
  try {
    return await typed.promise;
  } finally {
    signal.removeEventListener("abort", abort);
    reader.close();
  }
}

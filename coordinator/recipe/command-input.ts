// What `.stdin()` takes, as pieces of bytes. command.ts calls it.

/** Something that gives a command's standard input: texts are UTF-8. */
export type CommandInput =
  | string
  | Uint8Array
  | Blob
  | Iterable<string | Uint8Array>
  | AsyncIterable<string | Uint8Array>
  | ReadableStream<Uint8Array>;

/** Throws a TypeError for anything else. */
export function bytesOf(input: CommandInput): AsyncIterable<Uint8Array> {
  if (typeof input === "string" || input instanceof Uint8Array) return pieces([input]);
  if (input instanceof Blob) return pieces(input.stream());
  if (typeof input === "object" && input !== null && (Symbol.asyncIterator in input || Symbol.iterator in input))
    return pieces(input);
  throw new TypeError(`.stdin() takes a text, bytes, a Blob or something that gives them, not ${typeof input}.`);
}

async function* pieces(
  source: Iterable<string | Uint8Array> | AsyncIterable<string | Uint8Array>,
): AsyncGenerator<Uint8Array, void, undefined> {
  for await (const piece of source) {
    if (typeof piece !== "string" && !(piece instanceof Uint8Array))
      throw new TypeError(`.stdin() was given a piece that is neither a text nor bytes: ${typeof piece}.`);
    yield typeof piece === "string" ? Buffer.from(piece) : piece;
  }
}

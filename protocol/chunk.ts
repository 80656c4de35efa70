// The chunk codec: `[stream u8][length u32be][payload]`, the same on a raw carriage, in a journal and in a log.
// encodeChunk makes whole chunks; a ChunkDecoder is fed slices cut anywhere and passes payloads on as they arrive.
import { SortieError } from "./errors.ts";
import { formatJson, parseJson } from "./json.ts";
import { limits } from "./limits.ts";
import type { CallerControl, JournalControl } from "./messages.ts";

/** The set of four is closed: anything else is another operation, not another stream number. */
export const STDIN = 0;
export const STDOUT = 1;
export const STDERR = 2;
export const CONTROL = 3;
export type DataStream = typeof STDIN | typeof STDOUT | typeof STDERR;

export const HEADER_BYTES = 5;

/** Writes a chunk's header, so that a reader of pipes can read the payload into place behind it. */
export function writeHeader(target: Uint8Array, at: number, stream: number, length: number): void {
  target[at] = stream;
  target[at + 1] = length >>> 24;
  target[at + 2] = length >>> 16;
  target[at + 3] = length >>> 8;
  target[at + 4] = length;
}

/** One whole chunk. `payload` is at most `limits.chunkBytes`; it is copied. */
export function encodeChunk(stream: DataStream | typeof CONTROL, payload: Uint8Array): Uint8Array {
  const limit = stream === CONTROL ? limits.controlBytes : limits.chunkBytes;
  if (payload.length > limit) throw new RangeError(`a chunk of ${payload.length} bytes; at most ${limit}`);
  const chunk = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  writeHeader(chunk, 0, stream, payload.length);
  chunk.set(payload, HEADER_BYTES);
  return chunk;
}

export function encodeControl(message: CallerControl | JournalControl): Uint8Array {
  return encodeChunk(CONTROL, Buffer.from(formatJson(message)));
}

/** A piece of a data payload, as it came; or a whole control payload, parsed as JSON but not yet by a schema. */
export type ChunkPart =
  | { readonly kind: "data"; readonly stream: DataStream; readonly payload: Uint8Array }
  | { readonly kind: "control"; readonly json: unknown };

/** Decodes chunks from slices cut anywhere. Holds at most one control payload; throws PROTOCOL on anything malformed. */
export class ChunkDecoder {
  /** Bytes taken so far, headers included. */
  offset = 0;
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerFilled = 0;
  #stream = 0;
  /** Payload bytes of the current chunk that are still to come. */
  #remaining = 0;
  /** One buffer: as a piece each, a message of single bytes would cost megabytes. */
  #control = Buffer.alloc(0);
  #failure: SortieError | undefined;

  /** Whether the bytes taken so far end with a whole chunk. */
  get atBoundary(): boolean {
    return this.#headerFilled === 0 && this.#remaining === 0;
  }

  /** The parts in this slice. Data payloads are views into it. Take them all before the next push. */
  *push(slice: Uint8Array): Generator<ChunkPart, void, undefined> {
    if (this.#failure) throw this.#failure;
    let at = 0;
    while (at < slice.length) {
      if (this.#remaining === 0) {
        const took = Math.min(HEADER_BYTES - this.#headerFilled, slice.length - at);
        this.#header.set(slice.subarray(at, at + took), this.#headerFilled);
        this.#headerFilled += took;
        at += took;
        this.offset += took;
        if (this.#headerFilled < HEADER_BYTES) return;
        this.#headerFilled = 0;
        this.#beginChunk();
        if (this.#remaining === 0 && this.#stream === CONTROL) throw this.#fail("an empty control chunk");
        continue;
      }
      const took = Math.min(this.#remaining, slice.length - at);
      const payload = slice.subarray(at, at + took);
      at += took;
      this.offset += took;
      this.#remaining -= took;
      if (this.#stream !== CONTROL) {
        yield { kind: "data", stream: this.#stream as DataStream, payload };
        continue;
      }
      this.#control.set(payload, this.#control.length - this.#remaining - took);
      if (this.#remaining === 0) yield { kind: "control", json: this.#parseControl() };
    }
  }

  /** Call at the end of the input: a chunk cut short is an error. */
  end(): void {
    if (this.#failure) throw this.#failure;
    if (!this.atBoundary) throw this.#fail("the end of the stream in the middle of a chunk");
  }

  #beginChunk(): void {
    const [stream = 0, a = 0, b = 0, c = 0, d = 0] = this.#header;
    const length = a * 2 ** 24 + (b << 16) + (c << 8) + d;
    if (stream > CONTROL) throw this.#fail(`a chunk on stream ${stream}; there are only 0 to 3`);
    const limit = stream === CONTROL ? limits.controlBytes : limits.chunkBytes;
    if (length > limit) throw this.#fail(`a chunk of ${length} bytes on stream ${stream}; at most ${limit}`);
    this.#stream = stream;
    this.#remaining = length;
    if (stream === CONTROL) this.#control = Buffer.alloc(length);
  }

  #parseControl(): unknown {
    const bytes = this.#control;
    this.#control = Buffer.alloc(0);
    try {
      return parseJson(bytes);
    } catch {
      throw this.#fail("a control chunk that is not plain JSON");
    }
  }

  #fail(what: string): SortieError {
    this.#failure = new SortieError("PROTOCOL", `The peer sent ${what} (near offset ${this.offset}).`);
    return this.#failure;
  }
}

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ChunkDecoder, CONTROL, encodeChunk, STDERR, STDIN, STDOUT } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";

type Chunk = { stream: 0 | 1 | 2; payload: Uint8Array } | { stream: 3; json: unknown };

const chunk: fc.Arbitrary<Chunk> = fc.oneof(
  fc.record({ stream: fc.constantFrom(STDIN, STDOUT, STDERR), payload: fc.uint8Array({ maxLength: 300 }) }),
  fc.record({ stream: fc.constant(CONTROL), json: fc.jsonValue() }),
);
const chunks = fc.array(chunk, { maxLength: 20 });
const cuts = fc.array(fc.nat(7_000), { maxLength: 50 });

const encode = (all: readonly Chunk[]): Buffer =>
  Buffer.concat(
    all.map((one) =>
      "json" in one
        ? encodeChunk(CONTROL, Buffer.from(JSON.stringify(one.json)))
        : encodeChunk(one.stream, one.payload),
    ),
  );

function slices(bytes: Uint8Array, at: readonly number[]): Uint8Array[] {
  const places = [0, ...at.map((place) => Math.min(place, bytes.length)), bytes.length].sort((a, b) => a - b);
  return places.slice(1).map((place, index) => bytes.subarray(places[index], place));
}

/** What was decoded: neighbouring data of one stream joined, since payloads come in pieces. */
function decode(decoder: ChunkDecoder, pieces: readonly Uint8Array[]): string[] {
  const seen: { key: string; text: string }[] = [];
  for (const piece of pieces) {
    for (const part of decoder.push(piece)) {
      const key = part.kind === "data" ? String(part.stream) : "control";
      const text = part.kind === "data" ? Buffer.from(part.payload).toString("hex") : JSON.stringify(part.json);
      const last = seen.at(-1);
      if (last && key !== "control" && last.key === key) last.text += text;
      else seen.push({ key, text });
    }
  }
  return seen.map(({ key, text }) => `${key}:${text}`);
}

function expected(all: readonly Chunk[]): string[] {
  const seen: { key: string; text: string }[] = [];
  for (const one of all) {
    if ("json" in one) seen.push({ key: "control", text: JSON.stringify(one.json) });
    else {
      if (one.payload.length === 0) continue;
      const last = seen.at(-1);
      const text = Buffer.from(one.payload).toString("hex");
      if (last?.key === String(one.stream)) last.text += text;
      else seen.push({ key: String(one.stream), text });
    }
  }
  return seen.map(({ key, text }) => `${key}:${text}`);
}

describe("the chunk codec", () => {
  it("decodes the same chunks from any slicing", () => {
    fc.assert(
      fc.property(chunks, cuts, (all, at) => {
        const bytes = encode(all);
        const decoder = new ChunkDecoder();
        expect(decode(decoder, slices(bytes, at))).toEqual(expected(all));
        expect(decoder.offset).toBe(bytes.length);
        decoder.end();
      }),
      { numRuns: 1_000 },
    );
  });

  it("answers any corruption with the same chunks or one named error, and never hangs", () => {
    fc.assert(
      fc.property(chunks, cuts, fc.nat(6_000), fc.integer({ min: 1, max: 255 }), (all, at, place, change) => {
        const bytes = encode(all);
        if (bytes.length === 0) return;
        const index = place % bytes.length;
        bytes[index] = (bytes[index] ?? 0) ^ change;
        const decoder = new ChunkDecoder();
        try {
          decode(decoder, slices(bytes, at));
          decoder.end();
        } catch (error) {
          expect(error).toBeInstanceOf(SortieError);
          expect((error as SortieError).code).toBe("PROTOCOL");
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("survives any bytes at all", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2_000 }), cuts, (bytes, at) => {
        const decoder = new ChunkDecoder();
        try {
          decode(decoder, slices(bytes, at));
        } catch (error) {
          expect((error as SortieError).code).toBe("PROTOCOL");
        }
      }),
      { numRuns: 2_000 },
    );
  });

  it("refuses a length over the limit from its header alone, without taking memory for it", () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const stream of [0, 1, 2, 3]) {
      const decoder = new ChunkDecoder();
      expect(() => [...decoder.push(Uint8Array.of(stream, 0xff, 0xff, 0xff, 0xff))]).toThrow(/at most/);
    }
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1_000_000);
  });

  it("passes a large payload on in the pieces it came in, and holds none of it", () => {
    const decoder = new ChunkDecoder();
    const piece = Buffer.alloc(1024 * 1024, 1);
    const header = encodeChunk(STDOUT, new Uint8Array(0));
    header.set([1, 0, 0, 0], 1);
    let passed = 0;
    expect([...decoder.push(header)]).toEqual([]);
    for (let index = 0; index < 16; index++)
      for (const part of decoder.push(piece)) if (part.kind === "data") passed += part.payload.length;
    expect(passed).toBe(limits.chunkBytes);
    expect(decoder.atBoundary).toBe(true);
  });

  it("stays failed once it failed", () => {
    const decoder = new ChunkDecoder();
    expect(() => [...decoder.push(Uint8Array.of(9, 0, 0, 0, 0))]).toThrow(SortieError);
    expect(() => [...decoder.push(encodeChunk(STDERR, Uint8Array.of(1)))]).toThrow(SortieError);
    expect(() => decoder.end()).toThrow(SortieError);
  });

  it("tells a stream that ends in the middle of a chunk", () => {
    const decoder = new ChunkDecoder();
    expect([...decoder.push(encodeChunk(STDOUT, Uint8Array.of(1, 2, 3)).subarray(0, 6))].length).toBe(1);
    expect(() => decoder.end()).toThrow(/middle of a chunk/);
  });
});

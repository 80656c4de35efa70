// Takes the two outputs out of an engine's attach stream: frames of `[stream u8][0 0 0][length u32be][bytes]`.
// The library's own demux waits for no reader, never ends its outputs, and is quadratic on small frames.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach
import { Readable } from "node:stream";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";

const HEADER_BYTES = 8;
const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
/** The engine's own words, when it cannot go on. */
const ENGINE = 3;

export interface Outputs {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** Why the stream broke, or undefined at a clean end. Never rejects. */
  readonly ended: Promise<string | undefined>;
}

/** Nothing is read from the source that is not consumed; both outputs end when it does, however that is. */
export function demux(source: Readable): Outputs {
  const blocked = new Set<Readable>();
  const output = (): Readable =>
    new Readable({
      highWaterMark: limits.attachBufferBytes,
      read() {
        blocked.delete(this);
        if (blocked.size === 0) source.resume();
      },
      destroy(error, done) {
        blocked.delete(this);
        if (blocked.size === 0) source.resume();
        done(error);
      },
    });
  const stdout = output();
  const stderr = output();
  const ended = Promise.withResolvers<string | undefined>();

  const header = Buffer.alloc(HEADER_BYTES);
  let headerLength = 0;
  let stream = STDIN;
  let left = 0;
  let engineSaid = "";
  /** What one piece of the source holds for one output, pushed together: frames may be of one byte each. */
  let pieces: Buffer[] = [];
  let piecesOf = STDIN;

  function flush(): void {
    if (pieces.length === 0) return;
    const bytes = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
    const target = piecesOf === STDOUT ? stdout : stderr;
    pieces = [];
    if (!target.destroyed && !target.push(bytes)) {
      blocked.add(target);
      source.pause();
    }
  }

  function take(bytes: Buffer): void {
    if (stream === ENGINE) engineSaid = (engineSaid + bytes.toString()).slice(0, 1_000);
    if (stream !== STDOUT && stream !== STDERR) return;
    if (stream !== piecesOf) flush();
    piecesOf = stream;
    pieces.push(bytes);
  }

  function onData(data: Buffer): void {
    let at = 0;
    while (at < data.length) {
      if (left > 0) {
        const end = Math.min(at + left, data.length);
        left -= end - at;
        take(data.subarray(at, end));
        at = end;
        continue;
      }
      const copied = data.copy(header, headerLength, at, Math.min(data.length, at + HEADER_BYTES - headerLength));
      at += copied;
      headerLength += copied;
      if (headerLength < HEADER_BYTES) break;
      headerLength = 0;
      if (header.readUInt32BE(0) % 0x1000000 !== 0 || (header[0] as number) > ENGINE) {
        flush();
        finish("the engine sent something that is no attach stream");
        return;
      }
      stream = header[0] as number;
      left = header.readUInt32BE(4);
    }
    flush();
  }

  let finished = false;
  function finish(broke: string | undefined): void {
    if (finished) return;
    finished = true;
    source.off("data", onData);
    source.destroy();
    for (const one of [stdout, stderr]) if (!one.destroyed) one.push(null);
    ended.resolve(broke);
  }

  source.on("data", onData);
  source.on("error", (error) => finish(error.message));
  source.on("end", () => {
    if (engineSaid) finish(`the engine said: ${oneLine(engineSaid.trim())}`);
    else finish(left > 0 || headerLength > 0 ? "the engine's stream was cut" : undefined);
  });
  source.on("close", () => finish("the engine's stream was cut"));
  return { stdout, stderr, ended: ended.promise };
}

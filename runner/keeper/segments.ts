// A journal's files. Each segment holds the wire's bytes from a chunk's beginning on, and its name says what stands
// before it: ATTEMPT.OFFSET.STDOUT.STDERR.chunks (the offset, and the bytes of both outputs). journal.ts writes and
// reads through this; what was written survives the keeper, though not a power cut.
import { closeSync, ftruncateSync, openSync, read, readdirSync, rmSync, statSync, writev, writevSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { SortieError } from "../../protocol/errors.ts";

/** Up to this a synchronous write costs no more than a trip through the thread pool, and comes back at once. */
const WRITE_AT_ONCE = 256 * 1024;
/** One that took longer found a busy disk: for a while the thread pool waits for that, and not everybody. */
const QUICK_MS = 10;
const BUSY_FOR_MS = 1_000;
/** Of all journals: they share the disk. */
let busyUntil = 0;
/** More pieces than this in one system call are refused (IOV_MAX). */
const MOST_PIECES = 1_000;

const writeAsync = promisify(writev);
const readAsync = promisify(read);

/** Bytes of each output. */
export interface OutputBytes {
  readonly stdout: number;
  readonly stderr: number;
}

interface Segment {
  readonly path: string;
  readonly offset: number;
  readonly before: OutputBytes;
  bytes: number;
}

/** Told of every byte that comes to the disk, or goes. */
export type OnDisk = (change: number) => void;

export class Segments {
  readonly #folder: string;
  readonly #attemptId: string;
  readonly #onDisk: OnDisk;
  readonly #segments: Segment[];
  /** Of the last segment, while something is written. */
  #file: number | undefined;
  #bytes = 0;

  /** `found`: names of the files that are there already. */
  constructor(folder: string, attemptId: string, onDisk: OnDisk, found: readonly string[] = []) {
    this.#folder = folder;
    this.#attemptId = attemptId;
    this.#onDisk = (change) => {
      this.#bytes += change;
      onDisk(change);
    };
    this.#segments = found.flatMap((name) => segmentOf(folder, name)).sort((a, b) => a.offset - b.offset);
    let gapAt = 0;
    for (const [index, segment] of this.#segments.entries()) {
      segment.bytes = statSync(segment.path).size;
      this.#onDisk(segment.bytes);
      const next = this.#segments[index + 1];
      // Where the disk was full for a while there is a gap. What stands before it was acknowledged.
      if (next && segment.offset + segment.bytes !== next.offset) gapAt = next.offset;
    }
    this.dropBefore(gapAt);
  }

  /** The first offset that is there, and the bytes of both outputs before it. */
  get start(): { readonly offset: number; readonly before: OutputBytes } {
    return this.#segments[0] ?? { offset: 0, before: { stdout: 0, stderr: 0 } };
  }

  get end(): number {
    const last = this.#segments.at(-1);
    return last ? last.offset + last.bytes : 0;
  }

  get isEmpty(): boolean {
    return this.#segments.length === 0;
  }

  /** Of all its files. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Bytes of the last segment: a long one is to be followed by another. */
  get lastBytes(): number {
    return this.#segments.at(-1)?.bytes ?? 0;
  }

  /** Where the last segment begins. */
  get lastOffset(): number {
    return this.#segments.at(-1)?.offset ?? 0;
  }

  /** What comes next goes to a file of its own, which begins at `offset`. */
  begin(offset: number, before: OutputBytes): void {
    this.close();
    const path = join(this.#folder, `${this.#attemptId}.${offset}.${before.stdout}.${before.stderr}.chunks`);
    this.#file = openSync(path, "wx", 0o600);
    this.#segments.push({ path, offset, before: { ...before }, bytes: 0 });
  }

  /**
   * Appends whole chunks to the last segment; done when they can be read. Throws or rejects with what the file system
   * says, and leaves the segment as it was before.
   */
  write(pieces: readonly Uint8Array[], length: number): Promise<void> | void {
    const segment = this.#segments.at(-1);
    if (!segment) throw new RangeError("no segment was begun");
    this.#file ??= openSync(segment.path, "r+");
    const began = performance.now();
    if (length > WRITE_AT_ONCE || began < busyUntil) return this.#writeLater(segment, this.#file, pieces, length);
    try {
      let rest = pieces;
      for (let written = 0; written < length; ) {
        const count = writevSync(this.#file, rest.slice(0, MOST_PIECES), segment.bytes + written);
        written += count;
        rest = after(rest, count);
      }
    } catch (error) {
      this.#undo(segment, this.#file);
      throw error;
    }
    const ended = performance.now();
    if (ended - began > QUICK_MS) busyUntil = ended + BUSY_FOR_MS;
    this.#grew(segment, length);
  }

  async #writeLater(segment: Segment, file: number, pieces: readonly Uint8Array[], length: number): Promise<void> {
    let rest = pieces;
    try {
      for (let written = 0; written < length; ) {
        const some = rest.slice(0, MOST_PIECES) as NodeJS.ArrayBufferView[];
        const { bytesWritten } = await writeAsync(file, some, segment.bytes + written);
        written += bytesWritten;
        rest = after(rest, bytesWritten);
      }
    } catch (error) {
      this.#undo(segment, file);
      throw error;
    }
    this.#grew(segment, length);
  }

  #grew(segment: Segment, length: number): void {
    segment.bytes += length;
    this.#onDisk(length);
  }

  /** A chunk cut short must not stay. Where the disk refuses that too, the next write goes over it. */
  #undo(segment: Segment, file: number): void {
    try {
      ftruncateSync(file, segment.bytes);
    } catch {
      // The first error says more.
    }
  }

  /** At most `most` bytes from `offset` on. Rejects with OFFSET_GONE where they are not there. */
  async read(offset: number, most: number): Promise<Uint8Array> {
    const segment = this.#segments.findLast((one) => one.offset <= offset);
    if (!segment || offset >= segment.offset + segment.bytes) throw offsetGone(offset, this.start.offset, this.end);
    const length = Math.min(most, segment.offset + segment.bytes - offset);
    // A descriptor of its own: the writer's may be closed meanwhile, and its number be another file's.
    const file = openSync(segment.path, "r");
    try {
      const buffer = Buffer.allocUnsafe(length);
      const { bytesRead } = await readAsync(file, buffer, 0, length, offset - segment.offset);
      if (bytesRead === 0) throw offsetGone(offset, this.start.offset, this.end);
      return buffer.subarray(0, bytesRead);
    } finally {
      closeSync(file);
    }
  }

  /** Removes the segments that end at or before the offset, but never the last one. */
  dropBefore(offset: number): void {
    for (let first = this.#segments[0]; first && this.#segments.length > 1; first = this.#segments[0]) {
      if (first.offset + first.bytes > offset || !isGone(first.path)) return;
      this.#onDisk(-first.bytes);
      this.#segments.shift();
    }
  }

  /** Cuts the journal, so that it ends at the offset, which is not before its start. */
  cutAt(offset: number): void {
    let last = this.#segments.at(-1);
    for (; last && last.offset >= offset && this.#segments.length > 1; last = this.#segments.at(-1)) {
      this.close();
      rmSync(last.path, { force: true });
      this.#onDisk(-last.bytes);
      this.#segments.pop();
    }
    if (!last || offset >= last.offset + last.bytes) return;
    this.#file ??= openSync(last.path, "r+");
    ftruncateSync(this.#file, offset - last.offset);
    this.#onDisk(offset - last.offset - last.bytes);
    last.bytes = offset - last.offset;
  }

  /** Gives the descriptor back; reading and writing go on with new ones. */
  close(): void {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  remove(): void {
    this.close();
    for (const { path, bytes } of this.#segments.splice(0)) {
      isGone(path);
      this.#onDisk(-bytes);
    }
  }
}

/** Removes the file. One that a failing disk does not let go is the next keeper's to remove. */
function isGone(path: string): boolean {
  try {
    rmSync(path, { force: true });
    return true;
  } catch {
    return false;
  }
}

const NAME = /^([0-9a-z]{12})\.(\d+)\.(\d+)\.(\d+)\.chunks$/;

/** Names of segments in the folder, by attempt. */
export function findSegments(folder: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const name of readdirSync(folder)) {
    const attemptId = NAME.exec(name)?.[1];
    if (attemptId === undefined) continue;
    const names = found.get(attemptId) ?? [];
    found.set(attemptId, names);
    names.push(name);
  }
  return found;
}

function segmentOf(folder: string, name: string): Segment[] {
  const [, , offset, stdout, stderr] = NAME.exec(name) ?? [];
  if (offset === undefined) return [];
  const before = { stdout: Number(stdout), stderr: Number(stderr) };
  return [{ path: join(folder, name), offset: Number(offset), before, bytes: 0 }];
}

/** The pieces without their first `count` bytes. */
function after(pieces: readonly Uint8Array[], count: number): readonly Uint8Array[] {
  let skip = count;
  for (const [index, piece] of pieces.entries()) {
    if (skip < piece.length) return [piece.subarray(skip), ...pieces.slice(index + 1)];
    skip -= piece.length;
  }
  return [];
}

export const offsetGone = (offset: number, start: number, end: number): SortieError =>
  new SortieError("OFFSET_GONE", `The journal holds ${start} to ${end}, not ${offset}.`);

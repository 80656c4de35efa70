// Loaded into the commands under test by NODE_OPTIONS. While the file that SORTIE_CHAOS_FULL names exists, the disk
// takes nothing more: one write is cut short, as by the last free block, and those after it fail with ENOSPC. While
// the one that SORTIE_CHAOS_BACK names exists, the clock is an hour behind. To force something to the disk always takes as
// long as on a busy one, so that some are killed in the middle of it.
import fs from "node:fs";
import { syncBuiltinESMExports } from "node:module";
import { promisify } from "node:util";

const SYNC_MS = 25;

const { fdatasync } = fs;
fs.fdatasync = (file, done) => setTimeout(() => fdatasync(file, done), SYNC_MS);
syncBuiltinESMExports();

const { SORTIE_CHAOS_FULL: full, SORTIE_CHAOS_BACK: back } = process.env;

if (full) {
  let wasFull = false;
  /** Nothing while there is room; else "short" once, and then "none". */
  const room = (file) => {
    const isFull = fs.existsSync(full);
    const first = isFull && !wasFull;
    wasFull = isFull;
    if (!isFull || !fs.fstatSync(file).isFile()) return undefined;
    return first ? "short" : "none";
  };
  const failure = () =>
    Object.assign(new Error("ENOSPC: no space left on device, write"), {
      code: "ENOSPC",
      errno: -28,
      syscall: "write",
    });
  const half = (length) => Math.floor(length / 2);
  const { write, writeSync, writev, writevSync } = fs;

  fs.writeSync = (file, buffer, offset, length, ...rest) => {
    const left = room(file);
    if (left === "none") throw failure();
    if (left === undefined || typeof buffer === "string" || typeof offset === "object")
      return writeSync(file, buffer, offset, length, ...rest);
    const from = offset ?? 0;
    return writeSync(file, buffer, from, half(length ?? buffer.byteLength - from), ...rest);
  };
  fs.writevSync = (file, buffers, ...rest) => {
    const left = room(file);
    if (left === "none") throw failure();
    if (left === undefined) return writevSync(file, buffers, ...rest);
    // `rest` is the position, where there is one.
    return writeSync(file, buffers[0], 0, half(buffers[0].byteLength), ...rest);
  };

  const later = (plain, sync) => {
    const asked = promisify(plain);
    const replaced = (file, ...rest) => {
      const done = rest.pop();
      const left = room(file);
      if (left === undefined) return plain(file, ...rest, done);
      setImmediate(() => {
        let count = 0;
        try {
          if (left === "none") throw failure();
          count = sync(file, rest);
        } catch (error) {
          return done(error);
        }
        done(null, count, rest[0]);
      });
    };
    // What promisify makes of it, as Node's own have it.
    replaced[promisify.custom] = (file, ...rest) =>
      fs.existsSync(full)
        ? new Promise((resolve, reject) =>
            replaced(file, ...rest, (error, bytesWritten) => (error ? reject(error) : resolve({ bytesWritten }))),
          )
        : asked(file, ...rest);
    return replaced;
  };
  fs.write = later(write, (file, [buffer, offset = 0, length = buffer.length - offset, position]) =>
    writeSync(file, buffer, offset, half(length), position),
  );
  fs.writev = later(writev, (file, [buffers, position]) =>
    writeSync(file, buffers[0], 0, half(buffers[0].byteLength), position),
  );
  syncBuiltinESMExports();
}

if (back) {
  const HOUR = 60 * 60 * 1000;
  const RealDate = Date;
  const now = () => RealDate.now() - (fs.existsSync(back) ? HOUR : 0);
  globalThis.Date = class extends RealDate {
    constructor(...given) {
      if (given.length === 0) super(now());
      else super(...given);
    }
    static now() {
      return now();
    }
  };
}

// Where a keeper listens.
import { openSync } from "node:fs";
import { join } from "node:path";

/** A socket's path holds no more (unix(7), less the byte that ends it). */
const LONGEST_PATH = 107;
const folders = new Map<string, number>();

/** The socket in the folder; where that is too long to say, by way of a descriptor of the folder. */
export function socketPath(folder: string): string {
  const path = join(folder, "keeper.sock");
  if (Buffer.byteLength(path) <= LONGEST_PATH || process.platform !== "linux") return path;
  const descriptor = folders.get(folder) ?? openSync(folder, "r");
  folders.set(folder, descriptor);
  return `/proc/self/fd/${descriptor}/keeper.sock`;
}

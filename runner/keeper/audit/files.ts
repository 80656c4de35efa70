// The audit's folder: files named by the number of their first line, and beside them the head, which says where the chain ends.
// Without the head nobody could tell that lines at the very end were cut off.
import { closeSync, constants, fsyncSync, openSync, readdirSync, readFileSync, writeSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { PositiveInteger } from "../../../protocol/primitives.ts";
import { Hash, type Link } from "./chain.ts";

const HEAD = "head.json";
/** Longer than any head: written in place, it never leaves a piece of the one before. */
const HEAD_BYTES = 128;

const HEAD_FLAGS = constants.O_WRONLY | constants.O_CREAT | constants.O_NOFOLLOW;

const Head = v.strictObject({ seq: v.union([v.literal(0), PositiveInteger]), hash: Hash });

export interface AuditFile {
  readonly name: string;
  /** The number of its first line. */
  readonly first: number;
}

export const fileName = (first: number): string => `${String(first).padStart(12, "0")}.jsonl`;

/** The oldest first; none where there is no such folder. */
export function auditFiles(folder: string): AuditFile[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  return names
    .filter((name) => /^\d{12,15}\.jsonl$/.test(name))
    .map((name) => ({ name, first: Number.parseInt(name, 10) }))
    .sort((one, other) => one.first - other.first);
}

/** Empty where it was the oldest, and its keeper has begun another one since the folder was read. */
export function readAuditFile(folder: string, name: string): Buffer {
  try {
    return readFileSync(join(folder, name));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return Buffer.alloc(0);
    throw error;
  }
}

/** `undefined` where there is none, or where it is none. */
export function readHead(folder: string): Link | undefined {
  try {
    return v.parse(Head, JSON.parse(readFileSync(join(folder, HEAD), "utf8")));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== undefined && code !== "ENOENT") throw error;
    return undefined;
  }
}

/**
 * Only the first is forced to the disk, so that there is one: after a power cut an older head is there, and lines behind it are
 * those that it had not counted.
 */
export function writeHead(folder: string, { seq, hash }: Link): void {
  // By hand, for a file that may be there: "w" would empty it first, and a crash would leave none.
  const file = openSync(join(folder, HEAD), HEAD_FLAGS, 0o600);
  try {
    writeSync(file, `${JSON.stringify({ seq, hash }).padEnd(HEAD_BYTES - 1)}\n`, 0);
    if (seq === 0) fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

// Writes the audit: the keeper does, and nobody else. What waits is written together, in one go, and is on the disk
// (fdatasync) before the promise of it resolves: a job that was allowed is on record before it starts.
import {
  closeSync,
  constants,
  fdatasync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { AuditEvent } from "../../../protocol/audit.ts";
import { messageOf, SortieError } from "../../../protocol/errors.ts";
import { privateFolder } from "../../../protocol/home.ts";
import { limits } from "../../../protocol/limits.ts";
import { BEGINNING, encodeLine, type Link } from "./chain.ts";
import { findEnd } from "./end.ts";
import { auditFiles, fileName, readHead, writeHead } from "./files.ts";

export interface AuditSizes {
  /** Bytes after which another file is begun. */
  readonly file: number;
  /** Files that are kept. */
  readonly files: number;
}

export interface Audit {
  /** Resolves once the events are on disk. Rejects with AUDIT_FAILED. */
  write(events: readonly AuditEvent[]): Promise<void>;
  /** For what has happened already: tried again until it is on disk. Of those that are too many to wait a count is left. */
  record(event: AuditEvent): void;
  /** Writes what waits, once more. */
  close(): Promise<void>;
}

interface Waiting {
  readonly at: number;
  readonly event: AuditEvent;
  /** Absent for what is recorded. */
  readonly settle?: (error?: SortieError) => void;
}

/** The file that is written. */
interface Open {
  readonly path: string;
  readonly file: number;
  readonly inode: number;
  size: number;
  last: Link;
  /** What comes before anything else. */
  first: readonly AuditEvent[];
  /** Once those are written: files before this one are more than are kept. */
  readonly oldest: number;
}

const synced = promisify(fdatasync);
const FLAGS = constants.O_RDWR | constants.O_NOFOLLOW;
const NEW = FLAGS | constants.O_CREAT | constants.O_EXCL;

/** Opens no file before the first line: an audit that cannot be written is no reason not to keep the jobs that run. */
export function openAudit(
  folder: string,
  log: (line: string) => void,
  sizes: AuditSizes = { file: limits.auditFileBytes, files: limits.auditFiles },
): Audit {
  let waiting: Waiting[] = [];
  let open: Open | undefined;
  let writing: Promise<void> | undefined;
  let again: NodeJS.Timeout | undefined;
  /** Where this writer left it. */
  let left: Link | undefined;
  let notWritten = 0;
  let told = "";

  function leave(): void {
    if (open) closeSync(open.file);
    open = undefined;
  }

  function opened(name: string, flags: number, rest: Omit<Open, "path" | "file" | "inode">): Open {
    const path = join(folder, name);
    const file = openSync(path, flags, 0o600);
    open = { ...rest, path, file, inode: fstatSync(file).ino };
    return open;
  }

  function begin(last: Link, found: readonly AuditEvent[]): Open {
    const first = last.seq + 1;
    const kept = [...auditFiles(folder).map((file) => file.first), first].slice(-sizes.files);
    const oldest = kept[0] ?? first;
    return opened(fileName(first), NEW, { size: 0, last, first: [{ type: "file", oldest }, ...found], oldest });
  }

  /** The file, at its end. One that somebody removed, replaced or wrote to is not the one that was left. */
  function current(): Open {
    if (open) {
      const found = statSync(open.path, { throwIfNoEntry: false });
      if (found?.ino === open.inode && found.size === open.size) return open;
      leave();
    }
    privateFolder(folder);
    // It is there before any file is: files without one are never what a crash left.
    if (auditFiles(folder).length === 0 && !readHead(folder)) writeHead(folder, BEGINNING);
    const { file, last, found } = findEnd(folder, left);
    if (!file) return begin(last, found);
    const resumed = opened(file.name, FLAGS, { size: file.size, last, first: found, oldest: 0 });
    ftruncateSync(resumed.file, file.size);
    return resumed;
  }

  function rotated(full: Open): Open {
    leave();
    return begin(full.last, []);
  }

  async function put(batch: readonly Waiting[]): Promise<void> {
    let to = current();
    if (to.size >= sizes.file) to = rotated(to);
    let { last } = to;
    let text = "";
    const add = (event: AuditEvent, at: number): void => {
      const line = encodeLine(last, at, event);
      last = line.link;
      text += `${line.text}\n`;
    };
    const now = batch[0]?.at ?? Date.now();
    for (const event of to.first) add(event, now);
    if (notWritten > 0) add({ type: "not-written", count: notWritten }, now);
    for (const { event, at } of batch) add(event, at);
    const bytes = Buffer.from(text, "latin1");
    const counted = notWritten;
    try {
      for (let done = 0; done < bytes.length; )
        done += writeSync(to.file, bytes, done, bytes.length - done, to.size + done);
      await synced(to.file);
    } catch (error) {
      takeBack(to);
      throw error;
    }
    // Lines behind the head are what a crash left: so it comes last, and the lines count from then on.
    writeHead(folder, last);
    notWritten -= counted;
    const wasBegun = to.size === 0;
    to.size += bytes.length;
    to.last = left = last;
    to.first = [];
    if (wasBegun) tidy(to.oldest);
  }

  function takeBack(to: Open): void {
    try {
      ftruncateSync(to.file, to.size);
    } catch {
      // It stands behind the head, and is found there.
    }
    leave();
  }

  /** What is removed stays on record: the first line of the file that was begun says which is the oldest from now on. */
  function tidy(oldest: number): void {
    try {
      const directory = openSync(folder, "r");
      fsyncSync(directory);
      closeSync(directory);
      for (const { name, first } of auditFiles(folder)) if (first < oldest) rmSync(join(folder, name));
    } catch (error) {
      log(`the audit: ${messageOf(error)}`);
    }
  }

  async function writeAll(): Promise<void> {
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      try {
        await put(batch);
        told = "";
        for (const { settle } of batch) settle?.();
      } catch (error) {
        refuse(batch, error);
        return;
      }
    }
  }

  function refuse(batch: readonly Waiting[], error: unknown): void {
    const message = messageOf(error);
    if (message !== told) log(`the audit cannot be written: ${message}`);
    told = message;
    leave();
    const why = (error as NodeJS.ErrnoException).code ?? "a bug";
    // Where it lies is none of a peer's business.
    for (const { settle } of batch)
      settle?.(new SortieError("AUDIT_FAILED", `The runner's audit cannot be written (${why}).`));
    const kept = [...batch, ...waiting].filter(({ settle }) => !settle);
    waiting = [...kept.slice(-limits.auditWaiting), ...waiting.filter(({ settle }) => settle)];
    notWritten += Math.max(0, kept.length - limits.auditWaiting);
    if (waiting.length === 0) return;
    again ??= setTimeout(() => {
      again = undefined;
      start();
    }, limits.auditRetryMs);
    again.unref();
  }

  function start(): void {
    writing ??= writeAll().finally(() => {
      writing = undefined;
      // What came just after it had looked for more, or while the last ones were refused.
      if (waiting.some(({ settle }) => settle || !again)) start();
    });
  }

  return {
    async write(events) {
      const at = Date.now();
      const settled = events.map(
        (event) =>
          new Promise<void>((resolve, reject) => {
            waiting.push({ at, event, settle: (error) => (error ? reject(error) : resolve()) });
          }),
      );
      start();
      await Promise.all(settled);
    },
    record(event) {
      waiting.push({ at: Date.now(), event });
      if (!again) start();
    },
    async close() {
      clearTimeout(again);
      again = undefined;
      start();
      while (writing) await writing;
      clearTimeout(again);
      leave();
    },
  };
}

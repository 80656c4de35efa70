// Whether an audit is whole, as `runner audit verify` tells it: walks every file that is kept, against the head, and against one
// that somebody noted elsewhere. Reads only, also while the keeper writes.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditLine, Link } from "./chain.ts";
import { walk } from "./chain.ts";
import { auditFiles, readHead } from "./files.ts";

export interface Break {
  readonly file: string;
  /** In the file, the first is 1. */
  readonly line: number;
  readonly what: string;
}

export interface Verified {
  readonly files: number;
  readonly lines: number;
  /** The end of what is whole. */
  readonly last: Link | undefined;
  readonly since?: string;
  /** Bytes behind the last whole line: being written, or left by a crash. */
  readonly torn: number;
  readonly breaks: readonly Break[];
}

/** Breaks that are told: behind the first, the others are of little use. */
const MOST_BREAKS = 20;

/** Files that are begun while they are read, so often at most: an older one is gone then. */
const MOST_TRIES = 5;

/** `noted`: a head that was noted elsewhere; it must be in the chain. */
export function verifyAudit(folder: string, noted?: Link): Verified {
  for (let tries = 1; ; tries++)
    try {
      return verifyOnce(folder, noted);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT" || tries === MOST_TRIES) throw error;
    }
}

function verifyOnce(folder: string, noted: Link | undefined): Verified {
  // The head first: the files may grow meanwhile, and it must not.
  const head = readHead(folder);
  const files = auditFiles(folder);
  const breaks: Break[] = [];
  const stated = new Map<number, string>();
  let last: Link | undefined;
  let lines = 0;
  let since: string | undefined;
  let oldest = 0;
  let torn = 0;
  for (const [index, { name, first }] of files.entries()) {
    const bytes = readFileSync(join(folder, name));
    let inFile = 0;
    const each = (line: AuditLine, link: Link): void => {
      inFile++;
      since ??= line.at;
      if (link.seq === head?.seq || link.seq === noted?.seq) stated.set(link.seq, link.hash);
      const { event } = line;
      if (event.type === "file") oldest = event.oldest;
      // Without it nobody could tell a file that was cut, and given another name, from the oldest that is kept.
      else if (inFile === 1) breaks.push({ file: name, line: 1, what: "lines before it are gone: no file begins so" });
      if (event.type === "broken")
        breaks.push({ file: name, line: inFile, what: `the runner found that of ${event.file}: ${event.what}` });
    };
    const isOldest = index === 0;
    const walked = walk(bytes, isOldest ? undefined : last, each);
    lines += walked.lines;
    if (isOldest && walked.lines > 0 && firstOf(walked.last, walked.lines) !== first)
      breaks.push({ file: name, line: 1, what: `it begins with line ${firstOf(walked.last, walked.lines)}` });
    last = walked.last;
    if (walked.wrong === undefined) continue;
    const behindHead = index === files.length - 1 && (last?.seq ?? 0) >= (head?.seq ?? 0);
    if (behindHead) torn = bytes.length - walked.end;
    else {
      breaks.push({ file: name, line: walked.lines + 1, what: walked.wrong });
      // What stands behind it hangs on what was there: it is walked from there on.
      const rest = restOf(bytes, walked.end, each);
      lines += rest.lines;
      last = rest.last;
    }
  }
  const at = files.at(-1)?.name ?? "head.json";
  const end = (what: string): void => void breaks.push({ file: at, line: 0, what });
  if (files[0] && files[0].first > oldest && oldest > 0)
    breaks.push({ file: files[0].name, line: 1, what: `files before it are gone: line ${oldest} ought to be there` });
  if (!head && files.length > 0) end("there is no head: lines at the end may be missing");
  if (head && head.seq > (last?.seq ?? 0)) end(`it ends with line ${last?.seq ?? 0}, and its head is line ${head.seq}`);
  else if (head && stated.has(head.seq) && stated.get(head.seq) !== head.hash)
    end(`line ${head.seq} is another one than its head says`);
  if (noted && stated.get(noted.seq) !== noted.hash) end(whyNot(noted, files[0]?.first, stated.has(noted.seq)));
  return {
    files: files.length,
    lines,
    last,
    ...(since === undefined ? {} : { since }),
    torn,
    breaks: breaks.slice(0, MOST_BREAKS),
  };
}

const firstOf = (last: Link | undefined, lines: number): number => (last?.seq ?? 0) - lines + 1;

/** From the line behind the one that is wrong. */
function restOf(
  bytes: Buffer,
  end: number,
  each: Parameters<typeof walk>[2],
): { lines: number; last: Link | undefined } {
  let lines = 0;
  let last: Link | undefined;
  for (let from = end; from < bytes.length; ) {
    const walked = walk(bytes.subarray(from), undefined, each);
    lines += walked.lines;
    last = walked.last ?? last;
    if (walked.wrong === undefined) break;
    const next = bytes.indexOf(0x0a, from + walked.end);
    if (next < 0) break;
    from = walked.lines > 0 ? from + walked.end : next + 1;
  }
  return { lines, last };
}

function whyNot(noted: Link, first: number | undefined, isThere: boolean): string {
  if (isThere) return `line ${noted.seq} is another one than was noted`;
  if (first !== undefined && noted.seq < first)
    return `line ${noted.seq} is older than what is kept: note the head more often`;
  return `it has no line ${noted.seq}, which was noted`;
}

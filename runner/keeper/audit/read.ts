// Reads the audit's lines, as they stand: for `runner audit show`, and for a keeper that has to know which attempts were used.
import type { AttemptId } from "../../../protocol/ids.ts";
import { type AuditLine, parseLine } from "./chain.ts";
import { auditFiles, readAuditFile } from "./files.ts";

export interface ReadLine {
  /** As it is in the file. */
  readonly text: string;
  /** `undefined` where it is no line of an audit. */
  readonly line: AuditLine | undefined;
}

export function readLines(text: string): ReadLine[] {
  return text
    .split("\n")
    .filter((one) => one !== "")
    .map((one) => ({ text: one, line: parsed(one) }));
}

function parsed(text: string): AuditLine | undefined {
  try {
    return parseLine(text);
  } catch {
    return undefined;
  }
}

/** Of all that is kept, the last `most` that are wanted, in their order. */
export function lastLines(folder: string, most: number, isWanted: (line: ReadLine) => boolean): ReadLine[] {
  const found: ReadLine[] = [];
  for (const { name } of auditFiles(folder).reverse()) {
    found.unshift(...readLines(readAuditFile(folder, name).toString("utf8")).filter(isWanted));
    if (found.length >= most) break;
  }
  return found.slice(Math.max(0, found.length - most));
}

/** Attempts that were allowed since then, milliseconds since the epoch. */
export function attemptsSince(folder: string, since: number): AttemptId[] {
  const attempts: AttemptId[] = [];
  for (const { name } of auditFiles(folder).reverse()) {
    const lines = readLines(readAuditFile(folder, name).toString("utf8"));
    for (const { line } of lines)
      if (line?.event.type === "job-allowed" && Date.parse(line.at) >= since) attempts.push(line.event.attemptId);
    if (Date.parse(lines[0]?.line?.at ?? "") < since) break;
  }
  return attempts;
}

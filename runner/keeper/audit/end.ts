// Where an audit goes on: what stands in its folder is compared with its head. What a crash left half written is told apart from
// what somebody changed, and both are told in the lines that come next.
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { AuditEvent } from "../../../protocol/audit.ts";
import { BEGINNING, type Link, sha256, walk } from "./chain.ts";
import { type AuditFile, auditFiles, fileName, readHead } from "./files.ts";

export interface End {
  /** The file to go on in, and how much of it counts; without it a new one is begun. */
  readonly file?: { readonly name: string; readonly size: number };
  readonly last: Link;
  /** To be written first. */
  readonly found: readonly AuditEvent[];
}

/** `known`: where the writer itself left it, which counts more than what the head says now. */
export function findEnd(folder: string, known?: Link): End {
  const head = known ?? readHead(folder);
  const files = auditFiles(folder);
  const torn: AuditEvent[] = [];
  for (let file = files.pop(); file; file = files.pop()) {
    const end = endOf(folder, file, head);
    if ("broken" in end) return goOn(file, end.last, head, end.broken, torn);
    torn.push(...end.torn);
    if (end.last) return { file: { name: file.name, size: end.size }, last: end.last, found: torn };
    // Begun, and not a line of it was on the disk: it goes on in the one before.
    rmSync(join(folder, file.name));
  }
  if (!head || head.seq === 0) return { last: BEGINNING, found: torn };
  return goOn({ name: fileName(head.seq), first: head.seq }, undefined, head, "there is no file", torn);
}

type EndOfFile =
  | { readonly broken: string; readonly last: Link | undefined }
  | { readonly last: Link | undefined; readonly size: number; readonly torn: readonly AuditEvent[] };

function endOf(folder: string, file: AuditFile, head: Link | undefined): EndOfFile {
  const bytes = readFileSync(join(folder, file.name));
  let atHead: string | undefined;
  const { last, end, wrong } = walk(bytes, undefined, (_line, link) => {
    if (link.seq === head?.seq) atHead = link.hash;
  });
  if (!head) return { broken: "there is no head", last };
  if (head.seq > (last?.seq ?? file.first - 1))
    return { broken: `it is whole up to line ${last?.seq ?? file.first - 1}, and its head is line ${head.seq}`, last };
  if (atHead !== undefined && atHead !== head.hash)
    return { broken: `line ${head.seq} is another one than its head says`, last };
  const rest = bytes.subarray(end);
  const torn: AuditEvent[] = wrong === undefined ? [] : [{ type: "torn", bytes: rest.length, sha256: sha256(rest) }];
  return { last, size: end, torn };
}

/** In a new file, behind whatever is there: that stays as it is, for whoever looks into it. */
function goOn(
  file: AuditFile,
  last: Link | undefined,
  head: Link | undefined,
  what: string,
  torn: readonly AuditEvent[],
): End {
  const ends = [head, last, { seq: file.first, hash: BEGINNING.hash }].filter((one) => one !== undefined);
  const latest = ends.reduce((one, other) => (other.seq > one.seq ? other : one));
  return { last: latest, found: [{ type: "broken", file: file.name, what }, ...torn] };
}

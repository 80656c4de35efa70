// `runner audit`: shows who asked this runner for what, and whether that record is whole.
import { join } from "node:path";
import * as v from "valibot";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { harmless, oneLine } from "../../protocol/text.ts";
import { watchFolder } from "../../protocol/watch-folder.ts";
import { describeLine } from "../audit-text.ts";
import { Hash, type Link } from "../keeper/audit/chain.ts";
import { auditFiles, readAuditFile, readHead } from "../keeper/audit/files.ts";
import { lastLines, type ReadLine, readLines } from "../keeper/audit/read.ts";
import { verifyAudit } from "../keeper/audit/verify.ts";

interface Options {
  readonly action: "show" | "verify" | "head";
  readonly lines: number;
  readonly peer: string | undefined;
  readonly json: boolean;
  readonly follow: boolean;
  readonly head: string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("action", {
      choices: ["show", "verify", "head"] as const,
      default: "show" as const,
      describe: "Show the lines, check that none was changed or removed, or print where the chain ends",
    })
    .option("lines", { alias: "n", type: "number", default: 100, describe: "show: so many of the last lines" })
    .option("peer", { type: "string", describe: "show: only of this peer: a name, or a piece of a peer ID" })
    .option("json", { type: "boolean", default: false, describe: "show: the lines as they are in the files" })
    .option("follow", { alias: "f", type: "boolean", default: false, describe: "show: and what comes" })
    .option("head", { type: "string", describe: "verify: SEQ:HASH, as `audit head` printed it once" })
    .example("$0 audit -n 20 -f", "the last lines, and those that come")
    .example("$0 audit verify", "whether it is whole, or where it breaks")
    .example("$0 audit head", "to be noted on another machine, for verify --head");

export async function handler(options: Options): Promise<number> {
  const folder = join(homeOf("runner"), "audit");
  switch (options.action) {
    case "show":
      await show(folder, options);
      return 0;
    case "verify":
      return verify(folder, options.head);
    case "head": {
      const head = readHead(folder);
      if (!head && auditFiles(folder).length > 0)
        throw new SortieError("AUDIT_BROKEN", `The audit in ${folder} has no head, or none that can be read.`);
      if (!head) throw new SortieError("NOT_FOUND", `There is no audit in ${folder}.`, { hint: STARTED });
      say(`${head.seq}:${head.hash}`);
      return 0;
    }
  }
}

const STARTED = "It begins with the first `runner start`.";
const say = (line: string): void => void process.stdout.write(`${line}\n`);

async function show(folder: string, { lines, peer, json, follow }: Options): Promise<void> {
  if (!Number.isInteger(lines) || lines < 0) throw new SortieError("USAGE", "-n takes a number of lines.");
  if (auditFiles(folder).length === 0 && !follow)
    throw new SortieError("NOT_FOUND", `There is no audit in ${folder}.`, { hint: STARTED });
  const isWanted = ({ line }: ReadLine): boolean =>
    peer === undefined || (line !== undefined && isOf(line.event, peer));
  const print = (read: ReadLine): void => say(json ? harmless(read.text, false) : describeLine(read));
  // Before the last lines are read: what comes meanwhile is in both, and shown once.
  const followed = follow ? followFrom(folder) : undefined;
  let shown = 0;
  const printed = (read: ReadLine): void => {
    print(read);
    shown = read.line?.seq ?? shown;
  };
  for (const line of lastLines(folder, lines, isWanted)) printed(line);
  if (!followed) return;
  const stop = interruptSignal(() => process.exit(130));
  const look = (): void => {
    for (const read of followed()) if (isWanted(read) && (read.line?.seq ?? Infinity) > shown) printed(read);
  };
  const close = watchFolder(folder, look);
  // The watch holds no process.
  const held = setInterval(() => {}, 60_000);
  await new Promise<void>((resolve) => stop.addEventListener("abort", () => resolve(), { once: true }));
  clearInterval(held);
  close();
}

/** Gives what was written since it was called last, whole lines only. */
function followFrom(folder: string): () => ReadLine[] {
  let last = auditFiles(folder).at(-1);
  let size = last ? readAuditFile(folder, last.name).lastIndexOf(0x0a) + 1 : 0;
  return () => {
    const found: ReadLine[] = [];
    for (const file of auditFiles(folder)) {
      if (last && file.first < last.first) continue;
      if (file.first !== last?.first) {
        last = file;
        size = 0;
      }
      const bytes = readAuditFile(folder, file.name);
      const end = bytes.lastIndexOf(0x0a) + 1;
      found.push(...readLines(bytes.subarray(size, end).toString("utf8")));
      size = end;
    }
    return found;
  };
}

function isOf(event: object, peer: string): boolean {
  const { peer: id = "", name = "" } = event as { peer?: string; name?: string };
  return name === peer || (peer.length >= 4 && (id.startsWith(peer) || id.endsWith(peer)));
}

function verify(folder: string, head: string | undefined): number {
  const { files, lines, last, since, torn, breaks } = verifyAudit(
    folder,
    head === undefined ? undefined : parseHead(head),
  );
  if (files === 0 && breaks.length === 0)
    throw new SortieError("NOT_FOUND", `There is no audit in ${folder}.`, { hint: STARTED });
  if (torn > 0) say(`${torn} bytes behind the last line: one is being written, or a crash cut it`);
  if (breaks.length > 0) {
    // It may quote what somebody put there.
    for (const { file, line, what } of breaks)
      process.stderr.write(`${file}${line ? ` line ${line}` : ""}: ${oneLine(what)}\n`);
    throw new SortieError("AUDIT_BROKEN", `The audit in ${folder} is not whole.`);
  }
  say(
    `whole: ${lines} lines in ${files} ${files === 1 ? "file" : "files"}, since ${since}, up to ${last?.seq}:${last?.hash}`,
  );
  return 0;
}

function parseHead(text: string): Link {
  const [seq = "", hash = ""] = text.split(":");
  if (!/^[1-9]\d{0,14}$/.test(seq) || !v.is(Hash, hash))
    throw new SortieError("USAGE", `--head takes SEQ:HASH as \`audit head\` prints it, not ${JSON.stringify(text)}.`);
  return { seq: Number(seq), hash };
}

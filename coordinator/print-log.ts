// Which part of a log is shown, and the showing of it: the same for a log of this coordinator and for one that comes
// straight from a runner.
import { parseDuration } from "../protocol/duration.ts";
import { SortieError } from "../protocol/errors.ts";
import { lastLines } from "./store/last-lines.ts";
import type { LogPart } from "./store/read-log.ts";
import type { LogPrinter } from "./views/log-printer.ts";

export interface Show {
  readonly follow: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly timestamps: boolean;
  readonly raw: boolean;
  /** Notes too, on stderr. */
  readonly notes: boolean;
  /** Only the last lines. */
  readonly most: number | undefined;
  /** Only what was written from then on; milliseconds since the epoch. */
  readonly since: number;
  /** Only what stands behind it in the log. */
  readonly offset: number;
}

/** Throws USAGE. */
export function parseShow(
  options: Pick<Show, "follow" | "stdout" | "stderr" | "timestamps" | "raw" | "notes"> & {
    readonly n: string | undefined;
    readonly since: string | undefined;
    readonly offset: string | undefined;
  },
): Show {
  const both = options.stdout === options.stderr;
  return {
    follow: options.follow,
    stdout: both || options.stdout,
    stderr: both || options.stderr,
    timestamps: options.timestamps,
    raw: options.raw,
    notes: options.notes,
    most: options.n === undefined ? undefined : count("-n", options.n),
    since: options.since === undefined ? 0 : time(options.since),
    offset: options.offset === undefined ? 0 : count("--offset", options.offset),
  };
}

function count(option: string, text: string): number {
  const number = Number(text);
  if (text.trim() !== "" && Number.isInteger(number) && number >= 0) return number;
  throw new SortieError("USAGE", `${option} takes a number, not ${JSON.stringify(text)}.`);
}

function time(text: string): number {
  const ago = parseDuration(text);
  const at = ago === undefined ? Date.parse(text) : Date.now() - ago;
  if (!Number.isNaN(at)) return at;
  throw new SortieError("USAGE", `--since takes a duration or a time, not ${JSON.stringify(text)}.`);
}

/** Prints what is to be shown of the log. True where whoever reads it has left. */
export async function printParts(
  path: string,
  parts: AsyncIterable<LogPart>,
  printer: LogPrinter,
  show: Show,
): Promise<boolean> {
  const last = show.most === undefined ? parts : lastLines(path, parts, show.most, (stream) => show[stream]);
  for await (const part of last) {
    const shown = part.kind === "output" || part.kind === "note" ? within(part, show) : part;
    const printed = shown && printer.print(shown);
    if (printed) await printed;
    if (process.stdout.destroyed || process.stderr.destroyed) return true;
  }
  await printer.end();
  return false;
}

function within(part: LogPart & { kind: "output" | "note" }, { since, offset }: Show): LogPart | undefined {
  if (part.at < since || part.offset <= offset) return undefined;
  if (part.kind === "note") return part;
  const before = offset - (part.offset - part.bytes.length);
  return before <= 0 ? part : { ...part, bytes: part.bytes.subarray(before) };
}

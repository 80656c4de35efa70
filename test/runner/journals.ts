// Journals in a folder of their own, on a disk that can be told to fail, for the tests of runner/keeper/.
import * as v from "valibot";
import { onTestFinished } from "vitest";
import { ChunkDecoder, STDOUT } from "../../protocol/chunk.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { newAttemptId } from "../../protocol/ids.ts";
import { JournalControl, type JournalLimits } from "../../protocol/messages.ts";
import { type DiskBudget, defaultJournalLimits, diskBudget } from "../../runner/keeper/disk-budget.ts";
import { Journal, type JournalReader } from "../../runner/keeper/journal.ts";
import { Segments } from "../../runner/keeper/segments.ts";
import { testFolder } from "../rig/peers.ts";

/** The journal's files, but each write fails while the disk is `full`. */
class FailingSegments extends Segments {
  full = false;

  override write(pieces: readonly Uint8Array[], length: number): Promise<void> | void {
    if (this.full) throw new Error("ENOSPC: no space left on device, write");
    return super.write(pieces, length);
  }
}

export interface TestJournal {
  readonly journal: Journal;
  readonly files: FailingSegments;
  readonly disk: DiskBudget;
  readonly folder: string;
  readonly attemptId: string;
  /** What the keeper logged. */
  readonly log: string[];
}

export function testJournal(
  limits: Partial<JournalLimits> = {},
  folder = testFolder(),
  disk?: DiskBudget,
): TestJournal {
  const log: string[] = [];
  const budget =
    disk ??
    diskBudget(
      () => {},
      (line) => log.push(line),
    );
  budget.limits = { ...defaultJournalLimits, ...limits };
  const attemptId = newAttemptId();
  const files = new FailingSegments(folder, attemptId, budget.onDisk);
  const journal = new Journal(files, budget);
  onTestFinished(() => journal.remove());
  return { journal, files, disk: budget, folder, attemptId, log };
}

/** Reads what can be read until the offset. */
export async function readTo(reader: JournalReader, from: number, to: number, most = 65_536): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let at = from; at < to; ) {
    const read = await reader.read(Math.min(most, to - at));
    if (!read) throw new Error(`the journal ended at ${at}`);
    for (const piece of read) {
      pieces.push(piece);
      at += piece.length;
    }
  }
  return Buffer.concat(pieces);
}

export interface Contents {
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  readonly controls: readonly JournalControl[];
  readonly tally: OutputTally;
  /** Where each chunk ends. */
  readonly ends: readonly number[];
}

/** What a journal's bytes say; throws where they are not whole chunks. */
export function contentsOf(bytes: Uint8Array): Contents {
  const outputs = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const controls: JournalControl[] = [];
  const ends: number[] = [];
  const tally = new OutputTally();
  const decoder = new ChunkDecoder();
  for (const part of decoder.push(bytes)) {
    if (part.kind === "control") controls.push(v.parse(JournalControl, part.json));
    else {
      tally.add(part.stream, part.payload);
      outputs[part.stream === STDOUT ? "stdout" : "stderr"].push(part.payload);
    }
    if (decoder.atBoundary) ends.push(decoder.offset);
  }
  decoder.end();
  return { stdout: Buffer.concat(outputs.stdout), stderr: Buffer.concat(outputs.stderr), controls, tally, ends };
}

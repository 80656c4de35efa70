// Takes over what an earlier keeper left: journals that are over are kept on; of the others the processes are ended, and
// the journal too, with the reason `lost` and never with a code that the job did not have.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { ChunkDecoder, encodeControl } from "../../protocol/chunk.ts";
import type { Exit } from "../../protocol/exit.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { AttemptId } from "../../protocol/ids.ts";
import { JournalControl } from "../../protocol/messages.ts";
import type { Backends } from "./backends/index.ts";
import type { DiskBudget } from "./disk-budget.ts";
import { Journal } from "./journal.ts";
import { findMarks, removeMark, removeUnfinishedMarks } from "./marks.ts";
import { killMarked } from "./process-tree.ts";
import { type FoundRecord, findRecords } from "./record.ts";
import { findSegments, Segments } from "./segments.ts";
import { removeWorkFolder } from "./work.ts";

const PIECE = 1024 * 1024;
const MESSAGE = "the process that kept it ended, or the machine did";

export interface RecoveredJob extends FoundRecord {
  readonly journal: Journal;
  /** Where an exit stands that says `lost`. */
  readonly lostAt: number | undefined;
  /** The exit that it got just now, where it had none. */
  readonly exit: Exit | undefined;
}

export async function recover(place: {
  readonly journals: string;
  readonly work: string;
  readonly disk: DiskBudget;
  readonly backend: Backends;
}): Promise<RecoveredJob[]> {
  const { journals, work, disk, backend } = place;
  backend.removeSecrets();
  removeUnfinishedMarks(work);
  const marks = findMarks(work);
  for (const [attempt, mark] of marks) {
    // What is elsewhere may take its time: see reaper.ts.
    if (!backend.isLocal(mark)) continue;
    await backend.reap(attempt, mark);
    removeMark(work, attempt);
    marks.delete(attempt);
  }
  // A working directory is there for as long as there may be processes.
  const attempts = new Set(
    (readdirSync(work) as AttemptId[]).filter((name) => v.is(AttemptId, name) && !marks.has(name)),
  );
  if (attempts.size > 0) {
    await killMarked(attempts);
    await Promise.all([...attempts].map((attempt) => removeWorkFolder(join(work, attempt)).catch(() => {})));
  }
  const segments = findSegments(journals);
  const recovered: RecoveredJob[] = [];
  for (const found of findRecords(journals)) {
    const { attemptId } = found.record;
    const files = new Segments(journals, attemptId, disk.onDisk, segments.get(attemptId));
    segments.delete(attemptId);
    let completed: Completed = { lostAt: undefined, exit: undefined };
    try {
      if (!found.acknowledged) completed = await complete(files);
    } catch (error) {
      // A full disk. Without its end it is left for the keeper after this one.
      disk.failed(error);
      files.close();
      continue;
    }
    recovered.push({ ...found, journal: Journal.reopen(files, disk), ...completed });
  }
  // Segments whose record was never written, or is damaged: nobody can ask for them.
  for (const [attemptId, names] of segments) new Segments(journals, attemptId, disk.onDisk, names).remove();
  return recovered;
}

type Completed = Pick<RecoveredJob, "lostAt" | "exit">;

/** Ends a journal that has no exit. */
async function complete(files: Segments): Promise<Completed> {
  if (files.isEmpty) files.begin(0, { stdout: 0, stderr: 0 });
  const { offset: start, before } = files.start;
  // The exit is in the last segment, and what was being written too; the rest is read only where it must be counted.
  const last = await measure(files, files.lastOffset);
  if (last.hasExit) return { lostAt: last.lostAt, exit: undefined };
  files.cutAt(last.whole);
  let measured = await measure(files, start);
  if (measured.whole < files.end) {
    files.cutAt(measured.whole);
    measured = await measure(files, start);
  }
  const { tally, dropped, whole } = measured;
  const bytes = {
    stdout: before.stdout + tally.bytes.stdout + dropped.stdout,
    stderr: before.stderr + tally.bytes.stderr + dropped.stderr,
  };
  const exit: Exit = { type: "exit", reason: "lost", code: null, bytes, message: MESSAGE };
  const chunk = encodeControl(start === 0 ? { ...exit, hash: tally.hash() } : exit);
  await files.write([chunk], chunk.length);
  files.close();
  return { lostAt: whole, exit };
}

/**
 * What there is from the beginning of a segment on. `whole`: where the last whole chunk ends; what stands behind it was
 * being written.
 */
async function measure(files: Segments, start: number) {
  const tally = new OutputTally();
  const dropped = { stdout: 0, stderr: 0 };
  const decoder = new ChunkDecoder();
  let whole = start;
  let hasExit = false;
  let lostAt: number | undefined;
  try {
    for (let at = start; at < files.end && !hasExit; ) {
      const bytes = await files.read(at, PIECE);
      at += bytes.length;
      for (const part of decoder.push(bytes)) {
        if (part.kind === "data") tally.add(part.stream, part.payload);
        else {
          const message = v.parse(JournalControl, part.json);
          hasExit = message.type === "exit";
          if (message.type === "exit" && message.reason === "lost") lostAt = whole;
          if (message.type === "dropped") {
            dropped.stdout += message.stdout;
            dropped.stderr += message.stderr;
          }
        }
        if (decoder.atBoundary) whole = start + decoder.offset;
      }
    }
  } catch {
    // No chunks: the machine went down, and the disk has something else there.
  }
  return { whole, hasExit, lostAt, tally, dropped };
}

// Whether what came of a run is what its jobs wrote: each log byte by byte, its one exit, and the record.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { ChunkDecoder, STDOUT } from "../../protocol/chunk.ts";
import type { Exit } from "../../protocol/exit.ts";
import { OutputTally } from "../../protocol/hash.ts";
import type { ShownAttempt, ShownRun } from "./conduct.ts";
import type { Figures } from "./figures.ts";
import { type Output, outputOf } from "./output.ts";
import type { RoundPlan } from "./plan.ts";
import type { Site } from "./site.ts";

export interface Circumstances {
  /** Keepers that were killed: each may have taken an attempt of every job with it. */
  readonly keeperKills: number;
  /** What a keeper holds in memory while its disk is full goes with it. */
  readonly runnerWasFull: boolean;
}

export function checkRun(site: Site, plan: RoundPlan, run: ShownRun, why: Circumstances, figures: Figures): void {
  for (const job of run.jobs) {
    const planned = plan.jobs.find(({ name }) => name === job.name);
    if (!planned) throw new Error(`the run has a job ${job.name}`);
    const output = outputOf(planned.seed);
    const expected = "code" in output.end && output.end.code === 0 ? "passed" : "failed";
    // Three attempts that were lost, each with its keeper, are the most there are.
    const mayBeLost = why.keeperKills >= 3;
    if (job.outcome !== expected && !(mayBeLost && (job.outcome === "lost" || job.outcome === "skipped")))
      figures.wrong(`${job.name} is ${job.outcome}, not ${expected}: ${job.message}`);
    if (job.attempts.length > 1 + why.keeperKills)
      figures.wrong(`${job.name} has ${job.attempts.length} attempts, and ${why.keeperKills} keepers were killed`);
    for (const [index, attempt] of job.attempts.entries()) {
      const what = `${job.name}, attempt ${index + 1} (${attempt.id})`;
      checkAttempt(site, run.id, attempt, output, why, what, figures);
    }
  }
}

function checkAttempt(
  site: Site,
  run: string,
  attempt: ShownAttempt,
  output: Output,
  why: Circumstances,
  what: string,
  figures: Figures,
): void {
  figures.attempts++;
  let bytes: Buffer;
  try {
    bytes = readFileSync(join(site.logs, run, `${attempt.id}.chunks`));
  } catch {
    figures.attemptsLost++;
    if (why.keeperKills === 0) figures.wrong(`${what} has no log: ${attempt.message}`);
    return;
  }
  const { stdout, stderr, exits, afterExit, hash, starts, damage } = decode(bytes);
  figures.bytes += stdout.length + stderr.length;
  const [exit] = exits;
  // What came out of the memory of a keeper that is gone is in the log, and in no journal.
  const fromMemory = why.runnerWasFull && why.keeperKills > 0;
  if (exit || !fromMemory) checkJournal(site, attempt.id, bytes, fromMemory, what, figures);
  if (exits.length > 1) figures.repeatedExits += exits.length - 1;
  if (afterExit) figures.wrong(`${what} goes on after its exit`);
  if (damage !== undefined) figures.wrong(`${what} is no log: ${damage}`);
  if (starts > 1) figures.wrong(`${what} started ${starts} times`);
  const isLost = exit?.reason === "lost" || (!exit && why.runnerWasFull);
  if (isLost && why.keeperKills > 0) {
    figures.attemptsLost++;
    if (
      !stdout.equals(output.stdout.subarray(0, stdout.length)) ||
      !stderr.equals(output.stderr.subarray(0, stderr.length))
    )
      figures.wrong(`${what} was lost, and what its log has is not the beginning of its output`);
    if (exit && attempt.gap === null && (exit.bytes.stdout !== stdout.length || exit.bytes.stderr !== stderr.length))
      figures.wrong(`${what} was lost, and its exit counts others: ${JSON.stringify(exit)}`);
    return;
  }
  if (!exit) {
    figures.lostExits++;
    figures.wrong(`${what} has no exit: ${attempt.message}`);
  }
  if (starts === 0) figures.wrong(`${what} ended and never started`);
  compare(stdout, output.stdout, `${what}, stdout`, figures);
  compare(stderr, output.stderr, `${what}, stderr`, figures);
  if (!exit) return;
  if (attempt.log !== "complete" || attempt.gap !== null)
    figures.wrong(`${what} is ${attempt.log}, gap ${attempt.gap}`);
  if (!isDeepStrictEqual(attempt.exit, exit)) figures.wrong(`${what}: the record has another exit`);
  const { end } = output;
  const isRight =
    "code" in end
      ? exit.reason === "exited" && exit.code === end.code
      : exit.reason === "signaled" && exit.signal === end.signal;
  if (!isRight) figures.wrong(`${what} ended with ${JSON.stringify(exit)}, not ${JSON.stringify(end)}`);
  if (exit.bytes.stdout !== output.stdout.length || exit.bytes.stderr !== output.stderr.length)
    figures.wrong(`${what}: the exit counts ${JSON.stringify(exit.bytes)}`);
  if (exit.hash?.stdout !== hash.stdout || exit.hash.stderr !== hash.stderr) figures.wrong(`${what}: another hash`);
}

function compare(got: Buffer, expected: Buffer, what: string, figures: Figures): void {
  if (got.equals(expected)) return;
  let same = 0;
  while (same < got.length && got[same] === expected[same]) same++;
  figures.wrong(`${what}: ${got.length} of ${expected.length} bytes, the first ${same} right`);
  if (got.length > expected.length) figures.repeatedBytes += got.length - expected.length;
  else figures.lostBytes += Math.max(1, expected.length - got.length);
}

function decode(bytes: Buffer) {
  const decoder = new ChunkDecoder();
  const tally = new OutputTally();
  const outputs = { stdout: [] as Uint8Array[], stderr: [] as Uint8Array[] };
  const exits: Exit[] = [];
  let starts = 0;
  let afterExit = false;
  let damage: string | undefined;
  try {
    for (const part of decoder.push(bytes)) {
      if (exits.length > 0) afterExit = true;
      if (part.kind === "data") {
        outputs[part.stream === STDOUT ? "stdout" : "stderr"].push(part.payload);
        tally.add(part.stream, part.payload);
      } else {
        const message = part.json as Exit | { type: "started" };
        if (message.type === "exit") exits.push(message);
        if (message.type === "started") starts++;
      }
    }
  } catch (error) {
    damage = String(error);
  }
  const { stdout, stderr } = outputs;
  return {
    stdout: Buffer.concat(stdout),
    stderr: Buffer.concat(stderr),
    exits,
    starts,
    damage,
    afterExit: afterExit || (exits.length > 0 && !decoder.atBoundary),
    hash: tally.hash(),
  };
}

/**
 * What the runner's disk has of it is, byte by byte, what the coordinator's has. Where a keeper had only in its memory what it
 * sent last, also the exit, the one after it has ended the journal as lost, before that.
 */
function checkJournal(
  site: Site,
  attempt: string,
  log: Buffer,
  fromMemory: boolean,
  what: string,
  figures: Figures,
): void {
  for (const name of readdirSync(site.journals)) {
    const [id, offset, , , ending] = name.split(".");
    if (id !== attempt || ending !== "chunks") continue;
    const from = Number(offset);
    let segment: Buffer;
    try {
      segment = readFileSync(join(site.journals, name));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      // Of one that a full disk has only in part, the keeper lets go once its owner has all.
      continue;
    }
    const isLog = (length: number): boolean => segment.subarray(0, length).equals(log.subarray(from, from + length));
    if (!isLog(segment.length) && !(fromMemory && isLog(beforeLost(segment))))
      figures.wrong(
        `${what}: its journal from ${from} to ${from + segment.length} is not its log of ${log.length} bytes`,
      );
  }
}

/** Where the last chunk begins, if that says that the job was lost. */
function beforeLost(segment: Buffer): number {
  const decoder = new ChunkDecoder();
  let whole = 0;
  for (const part of decoder.push(segment)) {
    if (part.kind === "control" && (part.json as { reason?: string }).reason === "lost") return whole;
    if (decoder.atBoundary) whole = decoder.offset;
  }
  return segment.length;
}

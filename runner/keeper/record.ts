// What a keeper writes down about a job beside its journal, for the keeper after it: whose it is, and nothing of its
// commands or its environment, which may hold secrets.
import { readdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import { Lease } from "../../protocol/messages.ts";

const JobRecord = v.strictObject({
  attemptId: AttemptId,
  run: RunId,
  job: JobName,
  attempt: v.number(),
  /** The driven job that it is a command of. */
  within: v.optional(AttemptId),
  /** The peer ID that started it, as Noise authenticated it; `embedded` for a coordinator in the same process. */
  owner: v.string(),
  startedAt: v.number(),
  /** How long it goes on without its owner; null: for ever. */
  leaseMs: v.nullable(Lease),
});
export type JobRecord = v.InferOutput<typeof JobRecord>;

const OPEN = ".json";
const ACKNOWLEDGED = ".done.json";

export const writeRecord = (folder: string, record: JobRecord): void =>
  writeFileSync(join(folder, record.attemptId + OPEN), JSON.stringify(record), { mode: 0o600, flag: "wx" });

/** The owner has stored everything, the exit too. */
export function acknowledgeRecord(folder: string, attemptId: AttemptId): void {
  try {
    renameSync(join(folder, attemptId + OPEN), join(folder, attemptId + ACKNOWLEDGED));
  } catch {
    // A full disk kept it from being written: it is then kept for as long as those that nobody acknowledged.
  }
}

export function removeRecord(folder: string, attemptId: AttemptId): void {
  for (const ending of [OPEN, ACKNOWLEDGED]) {
    try {
      rmSync(join(folder, attemptId + ending), { force: true });
    } catch {
      // A disk that fails must not take the jobs that still run with it.
    }
  }
}

export interface FoundRecord {
  readonly record: JobRecord;
  readonly acknowledged: boolean;
  /** When it was last changed, milliseconds since the epoch. */
  readonly at: number;
}

/** Every record in the folder, the oldest first. One that was being written when the keeper died is removed. */
export function findRecords(folder: string): FoundRecord[] {
  const found: FoundRecord[] = [];
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(OPEN)) continue;
    const path = join(folder, name);
    try {
      const record = v.parse(JobRecord, JSON.parse(readFileSync(path, "utf8")));
      found.push({ record, acknowledged: name.endsWith(ACKNOWLEDGED), at: statSync(path).mtimeMs });
    } catch {
      rmSync(path, { force: true });
    }
  }
  return found.sort((a, b) => a.record.startedAt - b.record.startedAt);
}

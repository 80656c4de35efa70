// What the audit says of a job: that it was allowed, and how it ended. keeper.ts writes them.
import { type AuditDecision, type AuditEvent, brief } from "../../../protocol/audit.ts";
import type { Exit } from "../../../protocol/exit.ts";
import type { JobRecord } from "../record.ts";

const jobOf = ({ attemptId, run, job, attempt, within }: JobRecord) => ({
  attemptId,
  run,
  job,
  attempt,
  ...(within === undefined ? {} : { within }),
});

export const allowedLine = (record: JobRecord, decision: AuditDecision): AuditEvent => ({
  type: "job-allowed",
  ...decision,
  ...jobOf(record),
});

/** `peer`: who asked for it; a keeper that found the job knows whose it is. */
export const endedLine = (record: JobRecord, exit: Exit, peer: string = record.owner): AuditEvent => ({
  type: "job-ended",
  peer: brief(peer),
  ...jobOf(record),
  reason: exit.reason,
  code: exit.code,
  signal: "signal" in exit ? exit.signal : null,
  bytes: { ...exit.bytes },
  durationMs: Math.max(0, Date.now() - record.startedAt),
});

// What a runner's audit says: one event a line. Its front tells the keeper, which writes: see docs/audit.md. Nothing in it is
// an argument, a value of a variable or a secret: those who may read the audit need not know them.
import * as v from "valibot";
import { ExitCode, SignalName } from "./exit.ts";
import { AttemptId, JobName, RunId } from "./ids.ts";
import { limits } from "./limits.ts";
import { Count } from "./primitives.ts";

/** Of others' words a line holds only so much. */
const Brief = v.pipe(v.string(), v.maxLength(limits.auditCharacters));
/** What one of those fields takes of a text of any length. */
export const brief = (text: string): string =>
  text.length > limits.auditCharacters ? `${text.slice(0, limits.auditCharacters - 1)}…` : text;

/** A peer ID as Noise authenticated it, and what it is called here. */
const Peer = { peer: Brief, name: Brief };
const Job = { attemptId: AttemptId, run: RunId, job: JobName, attempt: Count, within: v.optional(AttemptId) };

/** One thing that a job needs to be let do: a kind of grant, and a program's, an image's or a variable's name. */
const Want = v.strictObject({ kind: Brief, value: Brief });

/** What a job was allowed by. */
export const AuditDecision = v.strictObject({
  ...Peer,
  wants: v.pipe(v.array(Want), v.maxLength(limits.auditWants)),
  /** Of the wants, those that are not listed. */
  more: v.optional(Count),
  rule: Brief,
  /** The peer ID of the key that signed the job, where the runner asks for it. */
  signedBy: v.optional(Brief),
});
export type AuditDecision = v.InferOutput<typeof AuditDecision>;

/** What the front has to say. */
export const FrontEvent = v.variant("type", [
  v.strictObject({ type: v.literal("runner-started"), peer: Brief, name: Brief, version: Brief, grants: Brief }),
  /** A call that was refused, for whatever reason, and what it was about. */
  v.strictObject({
    type: v.literal("refused"),
    ...Peer,
    operation: Brief,
    code: Brief,
    message: Brief,
    attemptId: v.optional(AttemptId),
    run: v.optional(RunId),
    job: v.optional(JobName),
    /** What denied it, as the policy has it; not told to the peer. */
    rule: v.optional(Brief),
  }),
  v.strictObject({ type: v.literal("paired"), ...Peer }),
  v.strictObject({ type: v.literal("pairing-refused"), peer: Brief, host: Brief, reason: Brief }),
  /** The pin was removed; its connections and jobs end. */
  v.strictObject({ type: v.literal("trust-removed"), peer: Brief }),
  /** A trusted peer has another key from now on. */
  v.strictObject({ type: v.literal("key-changed"), ...Peer, before: Brief }),
  /** Somebody whom this runner does not trust was given no connection. */
  v.strictObject({ type: v.literal("stranger"), peer: Brief, host: Brief }),
  /** Lines of the type `of` that were not written, of one peer or of all strangers: there were too many. */
  v.strictObject({ type: v.literal("counted"), of: Brief, peer: v.optional(Brief), count: Count }),
]);
export type FrontEvent = v.InferOutput<typeof FrontEvent>;

/** What the keeper itself writes. */
const KeeperEvent = v.variant("type", [
  v.strictObject({ type: v.literal("keeper-started"), pid: Count, version: Brief }),
  v.strictObject({ type: v.literal("job-allowed"), ...AuditDecision.entries, ...Job }),
  v.strictObject({
    type: v.literal("job-ended"),
    peer: Brief,
    ...Job,
    reason: Brief,
    code: v.nullable(ExitCode),
    signal: v.nullable(SignalName),
    bytes: v.strictObject({ stdout: Count, stderr: Count }),
    durationMs: Count,
  }),
  /** The first line of each file; files that begin before the line `oldest` were removed as there were enough. */
  v.strictObject({ type: v.literal("file"), oldest: Count }),
  /** What stood behind the last whole line when the machine went down, and was removed: it had not counted yet. */
  v.strictObject({ type: v.literal("torn"), bytes: Count, sha256: Brief }),
  /** The keeper found the audit not as it had left it, and went on in a new file. */
  v.strictObject({ type: v.literal("broken"), file: Brief, what: Brief }),
  /** Lines that could not be written while the disk was full. */
  v.strictObject({ type: v.literal("not-written"), count: Count }),
]);

export const AuditEvent = v.union([FrontEvent, KeeperEvent]);
export type AuditEvent = v.InferOutput<typeof AuditEvent>;

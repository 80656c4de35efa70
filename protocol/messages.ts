// Every operation's input and output and every control message, as schemas; the types are inferred from them.
// What comes from a peer is parsed here, once, at the door.
import * as v from "valibot";
import { AuditDecision, FrontEvent } from "./audit.ts";
import { Environment, Step } from "./command.ts";
import { Confinement } from "./confinement.ts";
import { DeliveredSecrets, variableOf } from "./delivered-secret.ts";
import { CancelledBy, Exit, ExitCode, SignalName } from "./exit.ts";
import { AttemptId, JobName, RunId } from "./ids.ts";
import { limits } from "./limits.ts";
import { Container, ResourceLimits, SshTarget, User } from "./place.ts";
import { AbsolutePath, Count, PositiveInteger, Text, Time } from "./primitives.ts";

/** Labels of a runner, and the labels a job asks for: `os=linux`. */
export const LabelName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$/, "a label's name"));
export const LabelValue = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.:/+-]{0,100}$/, "a label's value"));
export const Labels = v.record(LabelName, LabelValue);
export type Labels = v.InferOutput<typeof Labels>;

/** A runner's name as it tells it; never trusted, only shown and compared. */
export const RunnerName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "a runner's name"));

export const Lease = v.pipe(
  v.number(),
  v.integer(),
  v.minValue(limits.leaseMinimumMs),
  v.maxValue(limits.timeoutMaximumMs),
);

/** What a runner is asked to run: one attempt of one job. */
const JobRequestEntries = v.strictObject({
  attemptId: AttemptId,
  run: RunId,
  job: JobName,
  /** 1 for the first try. */
  attempt: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000)),
  /** Run one after the other in the same working directory; the first that does not exit 0 ends the job. */
  steps: v.pipe(v.array(Step), v.maxLength(limits.stepsPerJob)),
  /** Has no steps: it opens its site, and waits for commands within, and for `finish`. */
  driven: v.optional(v.literal(true)),
  /** One command of a driven job of the same peer, in that one's site: it takes no slot, and has no place of its own. */
  within: v.optional(AttemptId),
  /** Of a command within: added to the driven job's. */
  env: Environment,
  /** What nothing of the job may tell: not its journal, and no record. For the runner that runs it, and for no other. */
  secrets: v.optional(DeliveredSecrets),
  /** In what it runs: a container, or a host that the runner reaches by ssh. Without both it is a process of the runner. */
  container: v.optional(Container),
  ssh: v.optional(SshTarget),
  /**
   * An absolute path where it runs; without it the job gets a fresh directory, removed afterwards. Of a command within
   * it may be relative to the driven job's.
   */
  cwd: v.optional(v.pipe(Text, v.minLength(1))),
  /** Not over ssh, whose target names it. */
  user: v.optional(User),
  limits: v.optional(ResourceLimits),
  /** Not in a container. */
  nice: v.optional(v.pipe(v.number(), v.integer(), v.minValue(-20), v.maxValue(19))),
  umask: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(0o777))),
  /** For all steps together. */
  timeoutMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(limits.timeoutMaximumMs))),
  /** From TERM to KILL. */
  graceMs: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(limits.graceMaximumMs)),
  /** The job goes on for so long without its owner, and is cancelled then; null: for ever. Absent: as the runner has it. */
  leaseMs: v.optional(v.nullable(Lease)),
  /** Of the runner's slots; absent: one. */
  slots: v.optional(v.pipe(PositiveInteger, v.maxValue(limits.slots))),
  /** Whether stdin chunks will come; without it the steps read an empty stdin. Only a job of one step may have it. */
  stdin: v.boolean(),
});
const OF_THE_DRIVEN_JOB = [
  "secrets",
  "container",
  "ssh",
  "user",
  "limits",
  "nice",
  "umask",
  "slots",
  "leaseMs",
] as const;

/** What goes together. A command within is in the place, and by the session, of its driven job. */
export const JobRequest = v.pipe(
  JobRequestEntries,
  v.check(({ driven, steps }) => (driven ? steps.length === 0 : steps.length > 0), "steps, or driven and none"),
  v.check(({ driven, stdin }) => !(driven && stdin), "a driven job without stdin: its commands have their own"),
  v.check(({ driven, within }) => !(driven && within), "driven, or a command within, not both"),
  v.check(({ within, steps }) => !within || steps.length === 1, "one command within"),
  v.check(
    (request) => !request.within || OF_THE_DRIVEN_JOB.every((name) => request[name] === undefined),
    `a command within without ${OF_THE_DRIVEN_JOB.join(", ")}: they are its driven job's`,
  ),
  v.check(
    ({ within, cwd }) => within !== undefined || cwd === undefined || v.is(AbsolutePath, cwd),
    "an absolute path",
  ),
  v.check(({ container, ssh }) => !(container && ssh), "a container or ssh, not both"),
  v.check(({ ssh, user, limits }) => !(ssh && (user || limits)), "over ssh neither user nor limits"),
  v.check(
    ({ container, nice, umask }) => !(container && (nice ?? umask) !== undefined),
    "in a container neither nice nor umask",
  ),
  v.check(({ container }) => !(container?.network && container.services.length > 0), "services or a network, not both"),
  v.check(hasEachOnce, "each variable once, and secrets of services that are there"),
);
export type JobRequest = v.InferOutput<typeof JobRequest>;

function hasEachOnce({ env, container, secrets = [] }: v.InferOutput<typeof JobRequestEntries>): boolean {
  const services = new Map(container?.services.map((service) => [service.name, service.env]));
  const given = (of: string, pairs: Environment): string[] => pairs.map(([name]) => `${of} ${name}`);
  const all = [...given("", env), ...[...services].flatMap(([name, own]) => given(name, own))];
  for (const secret of secrets) {
    const variable = variableOf(secret);
    const of = secret.as === "env" ? (secret.service ?? "") : "";
    if (of !== "" && !services.has(of)) return false;
    if (variable !== undefined) all.push(`${of} ${variable}`);
  }
  return new Set(all).size === all.length;
}

/** Bytes the runner may send beyond the last acknowledgement. */
const Window = v.pipe(v.number(), v.integer(), v.minValue(limits.windowMinimum), v.maxValue(limits.windowMaximum));

/** One process of an owner. Once another one took a job over, the one before gets it no more: see SUPERSEDED. */
const Holder = v.pipe(v.string(), v.maxLength(64));

/** By whom and when a job was signed: see signature.ts. */
export const JobSignature = v.strictObject({
  /** The peer ID of the key. */
  by: v.pipe(v.string(), v.regex(/^[1-9A-HJ-NP-Za-km-z]{40,70}$/, "a peer ID")),
  /** Milliseconds since the epoch, by the signer's clock. */
  at: Time,
  /** Ed25519, base64url. */
  value: v.pipe(v.string(), v.regex(/^[A-Za-z0-9_-]{86}$/, "an Ed25519 signature")),
});
export type JobSignature = v.InferOutput<typeof JobSignature>;

export const JobRunInput = v.strictObject({
  request: JobRequest,
  window: Window,
  holder: Holder,
  /** Of the request; read by runners that demand one. */
  signature: v.optional(JobSignature),
});
export type JobRunInput = v.InferOutput<typeof JobRunInput>;
export const JobRunOutput = v.strictObject({ attemptId: AttemptId });

export const JobAttachInput = v.strictObject({
  attemptId: AttemptId,
  /** Where in the journal to begin. */
  offset: Count,
  /** The owner's own session: acknowledges, may send stdin, signals and cancel. There is one; a new one ends the other. */
  control: v.boolean(),
  window: Window,
  holder: Holder,
});
export type JobAttachInput = v.InferOutput<typeof JobAttachInput>;
export const JobAttachOutput = v.strictObject({
  attemptId: AttemptId,
  /** Where it begins indeed: a reader that asks for what is gone gets what is left. */
  offset: Count,
  /** Bytes of each output that are gone, where it begins later than was asked. */
  missing: v.strictObject({ stdout: Count, stderr: Count }),
  /** The journal's end so far. */
  end: Count,
  /** Bytes of stdin that the runner has; the owner goes on behind them. */
  stdin: Count,
});
export type JobAttachOutput = v.InferOutput<typeof JobAttachOutput>;

/** A job as its runner knows it. */
export const JobState = v.strictObject({
  attemptId: AttemptId,
  run: RunId,
  job: JobName,
  attempt: Count,
  /** The driven job that it is a command of. */
  within: v.optional(AttemptId),
  startedAt: Time,
  /** Whether its processes may still run; the exit can be read once they do not. */
  running: v.boolean(),
  /** The journal's end so far. */
  end: Count,
  /** Whether its owner is connected. */
  attached: v.boolean(),
  /** Whether the owner has stored everything, the exit too. */
  acknowledged: v.boolean(),
});
export type JobState = v.InferOutput<typeof JobState>;

export const JobLogsInput = v.strictObject({ attemptId: AttemptId, offset: Count, follow: v.boolean() });
/** A piece of text as it was written, with broken UTF-8 replaced. `offset` is where the next call goes on. */
export const JobLogsOutput = v.strictObject({
  stream: v.picklist(["stdout", "stderr"]),
  text: v.string(),
  at: Time,
  offset: Count,
});
export type JobLogsOutput = v.InferOutput<typeof JobLogsOutput>;

export const RunnerInfo = v.strictObject({
  name: RunnerName,
  version: v.string(),
  labels: Labels,
  /** Those of the labels that a job must ask for; a job that does not is not for this runner. */
  mandatory: v.optional(v.array(LabelName)),
  slots: Count,
  busy: Count,
  draining: v.boolean(),
});
export type RunnerInfo = v.InferOutput<typeof RunnerInfo>;

export const Empty = v.strictObject({});

/** What the caller of /job/run may send on the control stream. */
export const CallerControl = v.variant("type", [
  /** No more stdin. */
  v.strictObject({ type: v.literal("eof") }),
  /** Sent to the job's whole process tree. */
  v.strictObject({ type: v.literal("signal"), name: SignalName }),
  /** TERM to the tree, the grace, KILL to what is left; the exit says `cancelled`. */
  v.strictObject({ type: v.literal("cancel"), by: CancelledBy }),
  /**
   * Ends a driven job as if it exited with this code, once its commands are over; those that still run are ended first.
   * Told again, it says nothing new.
   */
  v.strictObject({ type: v.literal("finish"), code: ExitCode }),
  /** Everything before this offset of the journal is stored. */
  v.strictObject({ type: v.literal("ack"), offset: Count }),
]);
export type CallerControl = v.InferOutput<typeof CallerControl>;

/** What a journal holds on its control stream. The exit is always its last chunk. */
export const JournalControl = v.variant("type", [
  v.strictObject({ type: v.literal("started"), at: Time, attemptId: AttemptId }),
  /** A driven job takes commands from now on; they run in this directory: of the runner, the container, or the host. */
  v.strictObject({ type: v.literal("ready"), at: Time, cwd: v.string() }),
  /** Step `index` of `of` begins. */
  v.strictObject({ type: v.literal("step"), at: Time, index: Count, of: Count }),
  /** The time of what follows, milliseconds since the epoch. */
  v.strictObject({ type: v.literal("mark"), at: Time }),
  /** Bytes of stdin that the process's pipe has taken, or that were thrown away because it no longer reads. */
  v.strictObject({ type: v.literal("received"), offset: Count }),
  /** Bytes that are not in this journal or log, and why: what came at a limit while nobody read, or is not kept. */
  v.strictObject({ type: v.literal("dropped"), stdout: Count, stderr: Count, reason: v.string() }),
  /** A line, or a few, that is no output of the job: of a service by its name, or of what prepares the job. */
  v.strictObject({ type: v.literal("note"), at: Time, from: v.pipe(v.string(), v.maxLength(64)), text: v.string() }),
  Exit,
]);
export type JournalControl = v.InferOutput<typeof JournalControl>;

/** The peer ID that started a job, or `embedded`. */
const Owner = v.pipe(v.string(), v.maxLength(100));

/** How much of the disk journals take, and for how long; see docs/journal.md. */
export const JournalLimits = v.strictObject({
  /** Bytes of one journal, and of all. */
  job: Count,
  all: Count,
  /** After the exit was acknowledged. */
  keptMs: Count,
});
export type JournalLimits = v.InferOutput<typeof JournalLimits>;

export const KeeperInfo = v.strictObject({
  /** A front speaks to a keeper of the same number only. */
  protocol: Count,
  version: v.string(),
  pid: Count,
  running: Count,
});
export type KeeperInfo = v.InferOutput<typeof KeeperInfo>;

/** That a peer goes on under a new identity: signed by both keys, so that neither can be claimed. See succession.ts. */
export const Succession = v.strictObject({
  old: v.pipe(v.string(), v.maxLength(100)),
  new: v.pipe(v.string(), v.maxLength(100)),
  at: Time,
  signedByOld: v.pipe(v.string(), v.maxLength(100)),
  signedByNew: v.pipe(v.string(), v.maxLength(100)),
});
export type Succession = v.InferOutput<typeof Succession>;
export const Successions = v.pipe(v.array(Succession), v.maxLength(limits.successions));

/** Every operation that can be called: its carriage, and what goes in and comes out. */
export const operations = {
  "/runner/info": { carriage: "json", input: Empty, output: RunnerInfo },
  /** The info again whenever slots or draining change, until the caller leaves. */
  "/runner/watch": { carriage: "json", input: Empty, output: RunnerInfo },
  "/job/run": { carriage: "raw", input: JobRunInput, output: JobRunOutput },
  /** The journal from an offset on. A peer sees its own jobs only. */
  "/job/attach": { carriage: "raw", input: JobAttachInput, output: JobAttachOutput },
  "/job/list": { carriage: "json", input: Empty, output: v.strictObject({ jobs: v.array(JobState) }) },
  /** At most `limits.logsBytes` of text a call, then it completes; call again from the last offset. */
  "/job/logs": { carriage: "json", input: JobLogsInput, output: JobLogsOutput },

  /** How the one that answers came from the identity that the caller knew it by; none where it did not. */
  "/trust/succession": {
    carriage: "json",
    input: v.strictObject({ of: v.pipe(v.string(), v.maxLength(100)) }),
    output: v.strictObject({ successions: Successions }),
  },
  /** The caller goes on under the last identity; it calls with the first. */
  "/trust/succeed": { carriage: "json", input: v.strictObject({ successions: Successions }), output: Empty },

  // What a runner's front asks of its keeper, on the socket between them and nowhere else. The first two never change,
  // so that every front can tell what every keeper is.
  "/keeper/info": { carriage: "json", input: Empty, output: KeeperInfo },
  /** Leaves once no job runs, and answers before; refuses while one does. */
  "/keeper/leave": { carriage: "json", input: Empty, output: Empty },
  /** While this subscription lasts there is a front. Told whenever the counts, of jobs and of their slots, change. */
  "/keeper/watch": {
    carriage: "json",
    input: v.strictObject({ limits: JournalLimits }),
    output: v.strictObject({ running: Count, taken: Count }),
  },
  "/keeper/run": {
    carriage: "raw",
    input: v.strictObject({
      owner: Owner,
      slots: Count,
      leaseMs: v.nullable(Lease),
      decision: AuditDecision,
      confine: v.optional(Confinement),
      ...JobRunInput.entries,
    }),
    output: JobRunOutput,
  },
  /** Lines of the audit; answers once they are on disk. Rejects with AUDIT_FAILED. */
  "/keeper/audit": {
    carriage: "json",
    input: v.strictObject({ events: v.pipe(v.array(FrontEvent), v.maxLength(limits.auditEvents)) }),
    output: Empty,
  },
  "/keeper/attach": {
    carriage: "raw",
    input: v.strictObject({ owner: Owner, ...JobAttachInput.entries }),
    output: JobAttachOutput,
  },
  "/keeper/list": {
    carriage: "json",
    input: v.strictObject({ owner: Owner }),
    output: v.strictObject({ jobs: v.array(JobState) }),
  },
  /** Where the commands of a driven job run, once it takes some. */
  "/keeper/place": {
    carriage: "json",
    input: v.strictObject({ owner: Owner, attemptId: AttemptId }),
    output: v.strictObject({
      place: v.picklist(["local", "container", "ssh"]),
      directory: v.string(),
      /** The directory was made for the job: it named none. */
      fresh: v.boolean(),
    }),
  },
  /** Cancels the jobs of an owner, or of all, with their grace; answers when the exit of each is in its journal. */
  "/keeper/cancel": { carriage: "json", input: v.strictObject({ owner: v.nullable(Owner) }), output: Empty },

  // What a command of a coordinator asks of the one that listens, on the socket between them and nowhere else: a stream of a
  // runner that dials by itself, for one call. It waits for the runner for so many milliseconds.
  "/joined/open": {
    carriage: "raw",
    input: v.strictObject({
      peer: v.pipe(v.string(), v.maxLength(100)),
      withinMs: v.pipe(Count, v.maxValue(limits.joinWaitMs)),
    }),
    output: Empty,
  },
} as const satisfies Record<string, OperationSchema>;

interface OperationSchema {
  readonly carriage: "json" | "raw";
  readonly input: v.GenericSchema;
  readonly output: v.GenericSchema;
}

export type OperationId = keyof typeof operations;
export type InputOf<Id extends OperationId> = v.InferOutput<(typeof operations)[Id]["input"]>;
export type OutputOf<Id extends OperationId> = v.InferOutput<(typeof operations)[Id]["output"]>;
export type JsonOperationId = {
  [Id in OperationId]: (typeof operations)[Id]["carriage"] extends "json" ? Id : never;
}[OperationId];
export type RawOperationId = Exclude<OperationId, JsonOperationId>;

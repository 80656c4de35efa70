// Every operation's input and output and every control message, as schemas; the types are inferred from them.
// What comes from a peer is parsed here, once, at the door.
import * as v from "valibot";
import { CancelledBy, Exit, SignalName } from "./exit.ts";
import { AttemptId, JobName, RunId } from "./ids.ts";
import { limits } from "./limits.ts";

const Count = v.pipe(v.number(), v.integer(), v.minValue(0));
const Time = Count;

/** No NUL: the kernel would cut the string there. */
const Text = v.pipe(
  v.string(),
  v.check((text) => !text.includes("\0"), "text without a NUL character"),
);

/** Labels of a runner, and the labels a job asks for: `os=linux`. */
export const LabelName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_./-]{0,62}$/, "a label's name"));
export const LabelValue = v.pipe(v.string(), v.regex(/^[A-Za-z0-9_.:/+-]{0,100}$/, "a label's value"));
export const Labels = v.record(LabelName, LabelValue);
export type Labels = v.InferOutput<typeof Labels>;

/** A runner's name as it tells it; never trusted, only shown and compared. */
export const RunnerName = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/, "a runner's name"));

/** A command: argv starts the program itself, without a shell; a string runs with /bin/sh -c. */
export const Command = v.union([
  v.strictObject({
    argv: v.pipe(
      v.array(Text),
      v.minLength(1),
      v.check((argv) => argv[0] !== "", "a program's name"),
    ),
  }),
  v.strictObject({ shell: Text }),
]);
export type Command = v.InferOutput<typeof Command>;

export const VariableName = v.pipe(v.string(), v.regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "a variable's name"));

/** Pairs rather than an object: no name is special (`__proto__`), and order and doubles can be seen. */
export const Environment = v.pipe(
  v.array(v.strictTuple([VariableName, Text])),
  v.maxLength(limits.variablesPerJob),
  v.check((pairs) => new Set(pairs.map(([name]) => name)).size === pairs.length, "each variable once"),
  v.check(
    (pairs) => !pairs.some(([name]) => name.startsWith("SORTIE_")),
    "no SORTIE_ variable: Sortie sets those itself",
  ),
);
export type Environment = v.InferOutput<typeof Environment>;

export const Lease = v.pipe(
  v.number(),
  v.integer(),
  v.minValue(limits.leaseMinimumMs),
  v.maxValue(limits.timeoutMaximumMs),
);

/** What a runner is asked to run: one attempt of one job. */
export const JobRequest = v.strictObject({
  attemptId: AttemptId,
  run: RunId,
  job: JobName,
  /** 1 for the first try. */
  attempt: v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(1_000)),
  /** Run one after the other in the same working directory; the first that does not exit 0 ends the job. */
  steps: v.pipe(v.array(Command), v.minLength(1), v.maxLength(limits.stepsPerJob)),
  env: Environment,
  /** An absolute path on the runner; without it the job gets a fresh directory, removed afterwards. */
  cwd: v.optional(v.pipe(Text, v.startsWith("/", "an absolute path"))),
  /** For all steps together. */
  timeoutMs: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(limits.timeoutMaximumMs))),
  /** From TERM to KILL. */
  graceMs: v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(limits.graceMaximumMs)),
  /** The job goes on for so long without its owner, and is cancelled then; null: for ever. Absent: as the runner has it. */
  leaseMs: v.optional(v.nullable(Lease)),
  /** Whether stdin chunks will come; without it the steps read an empty stdin. Only a job of one step may have it. */
  stdin: v.boolean(),
});
export type JobRequest = v.InferOutput<typeof JobRequest>;

/** Bytes the runner may send beyond the last acknowledgement. */
const Window = v.pipe(v.number(), v.integer(), v.minValue(limits.windowMinimum), v.maxValue(limits.windowMaximum));

/** One process of an owner. Once another one took a job over, the one before gets it no more: see SUPERSEDED. */
const Holder = v.pipe(v.string(), v.maxLength(64));

export const JobRunInput = v.strictObject({ request: JobRequest, window: Window, holder: Holder });
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
  /** Everything before this offset of the journal is stored. */
  v.strictObject({ type: v.literal("ack"), offset: Count }),
]);
export type CallerControl = v.InferOutput<typeof CallerControl>;

/** What a journal holds on its control stream. The exit is always its last chunk. */
export const JournalControl = v.variant("type", [
  v.strictObject({ type: v.literal("started"), at: Time, attemptId: AttemptId }),
  /** Step `index` of `of` begins. */
  v.strictObject({ type: v.literal("step"), at: Time, index: Count, of: Count }),
  /** The time of what follows, milliseconds since the epoch. */
  v.strictObject({ type: v.literal("mark"), at: Time }),
  /** Bytes of stdin that the process's pipe has taken, or that were thrown away because it no longer reads. */
  v.strictObject({ type: v.literal("received"), offset: Count }),
  /** Bytes that are not in this journal or log, and why: what came at a limit while nobody read, or is not kept. */
  v.strictObject({ type: v.literal("dropped"), stdout: Count, stderr: Count, reason: v.string() }),
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

  // What a runner's front asks of its keeper, on the socket between them and nowhere else. The first two never change,
  // so that every front can tell what every keeper is.
  "/keeper/info": { carriage: "json", input: Empty, output: KeeperInfo },
  /** Leaves once no job runs, and answers before; refuses while one does. */
  "/keeper/leave": { carriage: "json", input: Empty, output: Empty },
  /** While this subscription lasts there is a front. Told whenever the count changes. */
  "/keeper/watch": {
    carriage: "json",
    input: v.strictObject({ limits: JournalLimits }),
    output: v.strictObject({ running: Count }),
  },
  "/keeper/run": {
    carriage: "raw",
    input: v.strictObject({ owner: Owner, slots: Count, leaseMs: v.nullable(Lease), ...JobRunInput.entries }),
    output: JobRunOutput,
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
  /** Cancels the jobs of an owner, or of all, with their grace; answers when the exit of each is in its journal. */
  "/keeper/cancel": { carriage: "json", input: v.strictObject({ owner: v.nullable(Owner) }), output: Empty },
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

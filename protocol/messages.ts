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
  /** Whether stdin chunks will come; without it the steps read an empty stdin. Only a job of one step may have it. */
  stdin: v.boolean(),
});
export type JobRequest = v.InferOutput<typeof JobRequest>;

export const JobRunInput = v.strictObject({
  request: JobRequest,
  /** Bytes the runner may send beyond the last acknowledgement. */
  window: v.pipe(v.number(), v.integer(), v.minValue(limits.windowMinimum), v.maxValue(limits.windowMaximum)),
});
export type JobRunInput = v.InferOutput<typeof JobRunInput>;
export const JobRunOutput = v.strictObject({ attemptId: AttemptId });

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
  /** Bytes that are not in this log, and why: only where a limit was set for it. */
  v.strictObject({ type: v.literal("dropped"), stdout: Count, stderr: Count, reason: v.string() }),
  Exit,
]);
export type JournalControl = v.InferOutput<typeof JournalControl>;

/** Every operation that can be called: its carriage, and what goes in and comes out. */
export const operations = {
  "/runner/info": { carriage: "json", input: Empty, output: RunnerInfo },
  /** The info again whenever slots or draining change, until the caller leaves. */
  "/runner/watch": { carriage: "json", input: Empty, output: RunnerInfo },
  "/job/run": { carriage: "raw", input: JobRunInput, output: JobRunOutput },
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

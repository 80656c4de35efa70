// How a job ended, as one union: causes are never mixed, so nobody has to guess what a code of 137 meant.
// Written by the keeper as the last chunk of a journal; read by the coordinator, its views and its exit code.
import { constants } from "node:os";
import * as v from "valibot";
import { limits } from "./limits.ts";
import { oneLine } from "./text.ts";

/** Signal names without "SIG", as the wire and people write them. */
export const SignalName = v.pipe(
  v.string(),
  v.check((name) => `SIG${name}` in constants.signals, "a signal's name without SIG, such as TERM"),
);
export type SignalName = v.InferOutput<typeof SignalName>;

/** BLAKE3 of a stream, as hexadecimal digits. */
const Hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/, "a BLAKE3 hash"));

/** An exit code, 0 to 255. */
export const ExitCode = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255));
const Bytes = v.pipe(v.number(), v.safeInteger(), v.minValue(0));

const common = {
  type: v.literal("exit"),
  /** Bytes the process wrote on each output: what a whole log holds. */
  bytes: v.strictObject({ stdout: Bytes, stderr: Bytes }),
  /** Of what the journal holds of each output, which is all but what it says it dropped. Absent only for a lost job. */
  hash: v.optional(v.strictObject({ stdout: Hash, stderr: Hash })),
  /** Something the job started kept an output open after the command itself exited; it was ended and the output closed. */
  heldOpen: v.optional(v.literal(true)),
  /** Index of the step that ended the job; absent when no step began. */
  step: v.optional(Bytes),
};

/** A process as its backend sees it: for a container by the engine's host, over ssh by the remote host. */
const Process = { pid: Bytes, name: v.pipe(v.string(), v.maxLength(64)) };

/** What a cancellation found, and what became of it. Names are the kernel's (15 characters), or the program's. */
export const Ending = v.strictObject({
  /** Gone after TERM, within the grace; or only after KILL. */
  ended: v.pipe(
    v.array(v.strictObject({ ...Process, by: v.picklist(["TERM", "KILL"]) })),
    v.maxLength(limits.endedProcesses),
  ),
  /** Still there after KILL: in uninterruptible sleep, or another user's. */
  survivors: v.pipe(v.array(v.strictObject(Process)), v.maxLength(limits.endedProcesses)),
  /** Of both, those that are not listed. */
  more: v.optional(Bytes),
  /** What could not be found out, and why: the host or the engine did not answer, and something may still run there. */
  unknown: v.optional(v.pipe(v.string(), v.maxLength(300))),
});
export type Ending = v.InferOutput<typeof Ending>;

/** What the process itself reported after someone else ended it: both null when nothing was reported. */
const ended = { code: v.nullable(ExitCode), signal: v.nullable(SignalName), ending: v.optional(Ending) };

/**
 * What could not be done: `engine`, `host` and `image` say that the container engine, the ssh host or the image could
 * not be had, `service` that a service of the job did not come up.
 */
export const Stage = v.picklist(["workdir", "command", "spawn", "engine", "host", "image", "service"]);
export type Stage = v.InferOutput<typeof Stage>;

/**
 * Who asked for a cancellation: the person at the coordinator, the run (another job failed), the runner (it stops), or,
 * for a command within, its driven job, which finished before it.
 */
export const CancelledBy = v.picklist(["user", "run", "runner", "peer", "job"]);
export type CancelledBy = v.InferOutput<typeof CancelledBy>;

export const Exit = v.variant("reason", [
  /** The process ended by itself. */
  v.strictObject({
    ...common,
    reason: v.literal("exited"),
    code: ExitCode,
    /** Its own code, or a signal: a container's engine tells both as 128+n, sshd signals that it has no name for as 255. */
    ambiguous: v.optional(v.literal(true)),
  }),
  /** A signal that Sortie did not send ended the process. */
  v.strictObject({ ...common, reason: v.literal("signaled"), code: v.null(), signal: SignalName }),
  v.strictObject({ ...common, reason: v.literal("out-of-memory"), ...ended }),
  v.strictObject({ ...common, reason: v.literal("timeout"), ...ended, timeoutMs: Bytes }),
  v.strictObject({ ...common, reason: v.literal("cancelled"), ...ended, by: CancelledBy }),
  /** Its coordinator stayed away for longer than the lease. */
  v.strictObject({ ...common, reason: v.literal("lease"), ...ended }),
  /** The process never ran. Code 127: no such command; 126: not executable; null: something else, as `message` says. */
  v.strictObject({
    ...common,
    reason: v.literal("failed-to-start"),
    code: v.nullable(v.picklist([126, 127])),
    stage: Stage,
    message: v.string(),
  }),
  /** Nobody knows: the keeper, the machine or the connection went away. */
  v.strictObject({ ...common, reason: v.literal("lost"), code: v.null(), message: v.string() }),
]);
export type Exit = v.InferOutput<typeof Exit>;

/** Passed is exactly one thing. */
export const passed = (exit: Exit): boolean => exit.reason === "exited" && exit.code === 0;

/** An infrastructure failure says nothing about the job: only such a job is tried again on another runner by itself. */
export const isInfrastructure = (exit: Exit): boolean =>
  exit.reason === "lost" ||
  exit.reason === "lease" ||
  (exit.reason === "failed-to-start" && (exit.stage === "engine" || exit.stage === "host"));

/** Sortie's own failure, in `coordinator exec`. The number is the one `docker run` and `env` use for the same. */
export const SORTIE_FAILED = 125;

/**
 * The exit code of `coordinator exec` for a job's exit: the command's own, 128+n for a signal, 124 for a time-out
 * (as coreutils' timeout), 130 for a cancellation, 137 for out of memory, 125 where Sortie could not tell.
 */
export function exitCodeOf(exit: Exit): number {
  switch (exit.reason) {
    case "exited":
      return exit.code;
    case "signaled":
      return 128 + signalNumber(exit.signal);
    case "out-of-memory":
      return 137;
    case "timeout":
      return 124;
    case "cancelled":
      return 130;
    case "failed-to-start":
      return exit.code ?? SORTIE_FAILED;
    case "lease":
    case "lost":
      return SORTIE_FAILED;
  }
}

const signalNames = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number as number, name.slice(3) as SignalName]),
);
/** By its number on this machine. */
export const signalOf = (number: number): SignalName | undefined => signalNames.get(number);

function signalNumber(name: SignalName): number {
  return (constants.signals as Record<string, number>)[`SIG${name}`] ?? 0;
}

/** One short phrase for a person: "exit 7", "killed by SEGV", "timed out after 10 s". */
export function describeExit(exit: Exit): string {
  const held = exit.heldOpen ? " (an output was held open and closed)" : "";
  switch (exit.reason) {
    case "exited":
      return `exit ${exit.code}${exit.ambiguous ? `, or killed by ${signalOf(exit.code - 128) ?? "a signal"}` : ""}${held}`;
    case "signaled":
      return `killed by ${exit.signal}${held}`;
    case "out-of-memory":
      return `out of memory${held}`;
    case "timeout":
      return `timed out after ${exit.timeoutMs / 1000} s${held}${describeSurvivors(exit.ending)}`;
    case "cancelled":
      return `cancelled by ${exit.by === "user" ? "the user" : `the ${exit.by}`}${held}${describeSurvivors(exit.ending)}`;
    case "lease":
      return `cancelled: its coordinator stayed away too long${held}${describeSurvivors(exit.ending)}`;
    case "failed-to-start":
      return `never started: ${oneLine(exit.message)}`;
    case "lost":
      return `lost: ${oneLine(exit.message)}`;
  }
}

/** What a person has to look after, behind the rest of a description. */
function describeSurvivors(ending: Ending | undefined): string {
  if (ending?.unknown !== undefined) return `; ${oneLine(ending.unknown)}`;
  if (!ending || ending.survivors.length === 0) return "";
  const [first, ...others] = ending.survivors.map(({ pid, name }) => `${oneLine(name)} (${pid})`);
  return `; could not be ended: ${first}${others.length > 0 ? ` and ${others.length} more` : ""}`;
}

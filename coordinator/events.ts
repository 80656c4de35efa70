// Everything that can happen in a run, one union. dispatch and run make them; the store and the views read them.
// A reader may return a promise: the run waits for it before it acknowledges output, so a slow reader slows the
// job instead of filling memory.
import { type Exit, isInfrastructure, passed } from "../protocol/exit.ts";
import type { AttemptId, JobName, RunId } from "../protocol/ids.ts";
import type { AskedOn } from "./ask-on.ts";
import type { GivenParam } from "./given-params.ts";
import type { SandboxGrants } from "./sandbox/grants.ts";
import type { Selection } from "./select.ts";

/** How a job came out. `lost`: the infrastructure failed it; `skipped`: it never started because of another. */
export type JobOutcome = "passed" | "failed" | "cancelled" | "lost" | "skipped";
export function outcomeOf(exit: Exit): RunOutcome {
  if (passed(exit)) return "passed";
  if (exit.reason === "cancelled") return "cancelled";
  return isInfrastructure(exit) ? "lost" : "failed";
}

/** How a run came out, and with it the exit code 0, 1, 130 or 3. */
export type RunOutcome = "passed" | "failed" | "cancelled" | "lost";

export interface PlannedJob {
  readonly name: JobName;
  readonly needs: readonly JobName[];
  /** Where the recipe makes it; absent where that is not known. */
  readonly location?: { readonly file: string; readonly line: number };
  /** Tells whether it is still the same job when another run keeps it. */
  readonly fingerprint?: string;
  /** The run that it passed in: it is not run again. */
  readonly kept?: RunId;
}

/** `at` is milliseconds since the epoch, everywhere. */
export type RunEvent =
  | {
      readonly type: "run-started";
      readonly at: number;
      readonly run: RunId;
      readonly recipe: string;
      readonly jobs: readonly PlannedJob[];
      /** Tells whether a recipe is still the same when the run is resumed; absent where it cannot be. */
      readonly fingerprint?: string;
      /** Of the recipe, as they were given; views show only what the command line gave. */
      readonly params?: readonly GivenParam[];
      /** Which of the recipe's jobs were asked for; absent: all. */
      readonly selection?: Selection;
      /** What is asked of every job's runner besides. */
      readonly on?: AskedOn;
      /** The run that this one goes on from. */
      readonly after?: RunId;
      /** What its recipe may do; absent: it is in no sandbox. */
      readonly sandbox?: SandboxGrants;
    }
  /** Another coordinator process goes on with the run. */
  | {
      readonly type: "run-resumed";
      readonly at: number;
      readonly run: RunId;
      readonly recipe: string;
      readonly jobs: readonly PlannedJob[];
    }
  /** Jobs that a job's function gave are part of the run from now on. Whatever needs that job waits for them. */
  | {
      readonly type: "jobs-joined";
      readonly at: number;
      readonly by: JobName;
      readonly jobs: readonly PlannedJob[];
    }
  | { readonly type: "runner-connected"; readonly at: number; readonly runner: string; readonly slots: number }
  | { readonly type: "runner-unreachable"; readonly at: number; readonly runner: string; readonly message: string }
  /** It could start, but its group is full. */
  | { readonly type: "job-waiting"; readonly at: number; readonly job: JobName; readonly message: string }
  /** About to be asked of a runner: from here on it may run there, whatever becomes of this coordinator. */
  | {
      readonly type: "job-dispatched";
      readonly at: number;
      readonly job: JobName;
      readonly attempt: number;
      readonly attemptId: AttemptId;
      readonly runner: string;
      /** Its peer ID, or `embedded`. */
      readonly runnerId: string;
      /** A function drives it, and goes with this process; its log is put together of several journals. */
      readonly driven?: true;
    }
  /** About to be asked of a runner too: another place that the job has, as long as this attempt of it lasts. */
  | {
      readonly type: "place-dispatched";
      readonly at: number;
      readonly job: JobName;
      /** Its name in `also`. */
      readonly place: string;
      readonly attemptId: AttemptId;
      readonly runner: string;
      readonly runnerId: string;
    }
  /** The runner did not take it; nothing ran. */
  | { readonly type: "job-returned"; readonly at: number; readonly job: JobName; readonly attemptId: AttemptId }
  | {
      readonly type: "job-started";
      readonly at: number;
      readonly job: JobName;
      readonly attempt: number;
      readonly attemptId: AttemptId;
      readonly runner: string;
    }
  | {
      readonly type: "job-step";
      readonly at: number;
      readonly job: JobName;
      readonly index: number;
      readonly of: number;
    }
  /** The connection was lost; the job goes on for its lease, and the runner is looked for. */
  | { readonly type: "job-reconnecting"; readonly at: number; readonly job: JobName; readonly message: string }
  | { readonly type: "job-reconnected"; readonly at: number; readonly job: JobName }
  | {
      readonly type: "job-output";
      readonly at: number;
      readonly job: JobName;
      readonly stream: "stdout" | "stderr";
      readonly bytes: Uint8Array;
    }
  /** A line, or a few, that is no output of the job: of a service by its name, or of what prepares the job. */
  | {
      readonly type: "job-note";
      readonly at: number;
      readonly job: JobName;
      readonly from: string;
      readonly text: string;
    }
  /** A job asks the person at the terminal, and waits. Told again for each answer that did not fit. */
  | {
      readonly type: "job-asking";
      readonly at: number;
      readonly job: JobName;
      readonly question: string;
      /** Answers to it that did not fit. */
      readonly refusals: number;
    }
  /** What it asked is over. The answer is nobody else's: it is in no event. */
  | {
      readonly type: "job-answered";
      readonly at: number;
      readonly job: JobName;
      readonly question: string;
      /** `option`: it was given beforehand, by `--answer`; `nobody`: the job ended first, or no answer was taken. */
      readonly by: "person" | "option" | "nobody";
    }
  /** An attempt was lost by the infrastructure, or failed, and the job is tried again: otherwise as `job-ended` tells it. */
  | {
      readonly type: "job-retrying";
      readonly at: number;
      readonly job: JobName;
      /** The one that ended. */
      readonly attempt: number;
      readonly outcome: "lost" | "failed";
      /** It ended with the coordinator that drove it, and counts for nothing. */
      readonly interrupted?: true;
      /** The pause before the next one. */
      readonly delayMs: number;
      readonly exit?: Exit;
      readonly gap?: string;
      readonly message?: string;
      readonly durationMs: number;
    }
  | {
      readonly type: "job-ended";
      readonly at: number;
      readonly job: JobName;
      readonly outcome: JobOutcome;
      /** It failed, and the run may pass nevertheless. */
      readonly allowed?: true;
      /** The run that it passed in; here it was not run. */
      readonly kept?: RunId;
      /** Absent for a skipped job, and where no exit arrived. */
      readonly exit?: Exit;
      /** What of its outputs did not arrive; absent where they are proven whole, or there is no exit to prove them. */
      readonly gap?: string;
      /** What the job is to those that need it: a value of JSON. Absent where it has none, or gave jobs. */
      readonly output?: unknown;
      /** One sentence where the exit does not say it all: why it was skipped or lost, with the hint. */
      readonly message?: string;
      readonly durationMs: number;
    }
  /** Something beside the jobs went wrong, and does not change how the run comes out. */
  | { readonly type: "warning"; readonly at: number; readonly message: string }
  | { readonly type: "run-cancelling"; readonly at: number; readonly message: string }
  | {
      readonly type: "run-ended";
      readonly at: number;
      readonly run: RunId;
      readonly outcome: RunOutcome;
      readonly durationMs: number;
      readonly message?: string;
    };

export interface EventReader {
  on(event: RunEvent): void | Promise<void>;
  /** After the last event: flush and give the terminal back. */
  close(): void | Promise<void>;
}

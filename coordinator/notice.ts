// What is told by `notify`: one JSON document, of a run or of a job. notify.ts makes it, and deliver.ts sends it.
import type { Exit } from "../protocol/exit.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import type { JobOutcome, RunOutcome } from "./events.ts";

interface AnyNotice {
  readonly run: RunId;
  /** The recipe's file. */
  readonly recipe: string;
  /** Milliseconds since the epoch. */
  readonly endedAt: number;
  readonly durationMs: number;
}

/** How one job came out. */
export interface JobCameOut {
  readonly job: JobName;
  readonly outcome: JobOutcome;
  readonly allowed?: true;
  readonly exit?: Exit;
  readonly message?: string;
}

export type Notice =
  | (AnyNotice & { readonly type: "job" } & JobCameOut)
  | (AnyNotice & {
      readonly type: "run";
      readonly outcome: RunOutcome;
      /** How many jobs came out how. */
      readonly counts: Readonly<Partial<Record<JobOutcome, number>>>;
      /** The first of those that did not pass. */
      readonly notPassed: readonly JobCameOut[];
    });

// What came of a job, as the jobs that need it see it.
import type { Exit } from "../../protocol/exit.ts";

/** What came of a job. */
export interface JobResult<out Output = unknown> {
  /** How it came out. Only jobs that run `always`, or that need one with `allowFailure`, see another than `"passed"`. */
  readonly outcome: "passed" | "failed" | "cancelled" | "lost" | "skipped";
  /** The code it exited with; null where it was ended by a signal, or did not run. */
  readonly code: number | null;
  /** All that is known of its end; absent where it did not run, or its runner was lost. */
  readonly exit?: Exit;
  /** From when a runner was asked for it to its end; milliseconds. */
  readonly durationMs: number;
  /** What its function gave, or its standard output as its option `output` says; undefined where it did not pass. */
  readonly output: Output;
  /** The end of what it wrote to its standard error, at most 4 KiB. */
  readonly stderr: string;
}

// The time limits of a job: `timeout` as recipes write it, and as the plan has it.
import { parseDuration } from "../../protocol/duration.ts";
import { checkDuration, checkNames, isRecord, shown, type Wrong } from "./check.ts";
import type { Duration } from "./place.ts";

/** More than one limit. Each default: none. */
export interface TimeoutOptions {
  /** All steps together, or the function: then the job is ended, and its exit says `timeout`. */
  readonly job?: Duration;
  /** Each step of its own. For commands; those of a function take `.timeout()`. */
  readonly step?: Duration;
  /**
   * How long the job may wait, once all that it needs is over, for its group and a runner to start it. After that it is
   * lost: the run ends with exit code 3.
   */
  readonly queue?: Duration;
}

/** As the plan has it; all in milliseconds. */
export interface Timeouts {
  readonly timeoutMs?: number;
  readonly stepTimeoutMs?: number;
  readonly queueMs?: number;
}

/** Throws what `wrong` makes of the first thing that cannot be. */
export function timeoutsOf(timeout: unknown, isFunction: boolean, wrong: Wrong): Timeouts {
  if (timeout === undefined) return {};
  if (!isRecord(timeout)) return limit("timeoutMs", "timeout", timeout, wrong);
  checkNames("timeout", timeout, ["job", "step", "queue"] satisfies (keyof TimeoutOptions)[], wrong);
  const { job, step, queue } = timeout as { readonly [Name in keyof TimeoutOptions]?: unknown };
  if (job === undefined && step === undefined && queue === undefined)
    throw wrong(`timeout must be a duration, or say job, step or queue, not ${shown(timeout)}.`);
  if (isFunction && step !== undefined)
    throw wrong("timeout's step is for commands: those of a function take .timeout().");
  return {
    ...limit("timeoutMs", "timeout's job", job, wrong),
    ...limit("stepTimeoutMs", "timeout's step", step, wrong),
    ...limit("queueMs", "timeout's queue", queue, wrong),
  };
}

function limit(name: keyof Timeouts, option: string, value: unknown, wrong: Wrong): Timeouts {
  if (value === undefined) return {};
  checkDuration(option, value, wrong);
  const milliseconds = parseDuration(value);
  if (milliseconds === 0) throw wrong(`${option} must be at least a millisecond.`);
  return { [name]: milliseconds };
}

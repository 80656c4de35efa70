// What `retry` of a job says, and what follows from it: whether a failed attempt is tried again, and after how long.
// job() checks it, the plan holds it, and tries.ts asks it.
import { parseDuration } from "../../protocol/duration.ts";
import type { Exit } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import { checkDuration, checkNames, isRecord, shown, type Wrong } from "./check.ts";
import type { Duration } from "./place.ts";

const reasons = ["exited", "signaled", "out-of-memory", "timeout", "failed-to-start"] as const;

/** Why an attempt failed, as its exit says it. */
export type FailureReason = (typeof reasons)[number];

/** When a failed job is tried again. */
export interface RetryOptions {
  /** How often at most, beyond the first attempt; up to 100. */
  readonly count: number;
  /**
   * The pause before the first retry, doubled before each one after it up to ten minutes, and shortened at random to
   * between a half and all of that. Default: a second.
   * @example backoff: "5s"
   */
  readonly backoff?: Duration;
  /**
   * Only these failures: exit codes, and reasons of an exit. Default: every failure.
   * @example on: { codes: [75], reasons: ["timeout"] }
   */
  readonly on?: { readonly codes?: readonly number[]; readonly reasons?: readonly FailureReason[] };
}

/** As the plan has it. */
export interface Retry {
  readonly count: number;
  readonly backoffMs: number;
  /** Absent: every failure. */
  readonly on?: { readonly codes: readonly number[]; readonly reasons: readonly FailureReason[] };
}

/** Throws what `wrong` makes of the first thing that cannot be. */
export function retryOf(value: unknown, wrong: Wrong): Retry {
  const options = typeof value === "number" ? { count: value } : value;
  if (!isRecord(options)) throw wrong(`retry must be a number or an object, not ${shown(value)}.`);
  checkNames("retry", options, ["count", "backoff", "on"] satisfies (keyof RetryOptions)[], wrong);
  const { count, backoff, on } = options as { readonly [Name in keyof RetryOptions]?: unknown };
  if (typeof count !== "number" || !Number.isInteger(count) || count < 0 || count > limits.retries)
    throw wrong(`retry must be a whole number from 0 to ${limits.retries}, not ${shown(count)}.`);
  checkDuration("retry's backoff", backoff, wrong);
  return {
    count,
    backoffMs: parseDuration(backoff) ?? limits.retryBackoffMs,
    ...(on === undefined ? {} : { on: failuresOf(on, wrong) }),
  };
}

function failuresOf(on: unknown, wrong: Wrong): NonNullable<Retry["on"]> {
  if (!isRecord(on)) throw wrong(`retry's on must be an object, not ${shown(on)}.`);
  checkNames("retry's on", on, ["codes", "reasons"], wrong);
  const { codes = [], reasons: wanted = [] } = on as { codes?: unknown; reasons?: unknown };
  if (!Array.isArray(codes)) throw wrong(`retry's codes must be a list of exit codes, not ${shown(codes)}.`);
  for (const code of codes)
    if (!Number.isInteger(code) || code < 1 || code > 255)
      throw wrong(`retry's codes must be exit codes from 1 to 255, not ${shown(code)}.`);
  if (!Array.isArray(wanted)) throw wrong(`retry's reasons must be a list, not ${shown(wanted)}.`);
  checkNames("retry's reasons", Object.fromEntries(wanted.map((one) => [String(one), one])), reasons, wrong, "reason");
  if (codes.length + wanted.length === 0) throw wrong("retry's on names neither codes nor reasons.");
  return { codes: codes as number[], reasons: wanted as FailureReason[] };
}

/** Whether a failure of this kind is to be tried again, when `failures` attempts have failed, this one included. */
export function isTriedAgain(retry: Retry | undefined, failures: number, exit: Exit): boolean {
  if (!retry || failures > retry.count) return false;
  if (!retry.on) return true;
  return (
    retry.on.reasons.some((reason) => reason === exit.reason) ||
    (exit.reason === "exited" && retry.on.codes.includes(exit.code))
  );
}

/** The pause after so many failures; `random` from 0 to 1. */
export function backoffMs({ backoffMs: first }: Retry, failures: number, random: number): number {
  const whole = Math.min(first * 2 ** (failures - 1), Math.max(first, limits.retryMostMs));
  return Math.round(whole * (0.5 + random / 2));
}

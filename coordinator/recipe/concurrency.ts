// The group of a job: `concurrency` as recipes write it.
import { limits } from "../../protocol/limits.ts";
import type { Group } from "../group.ts";
import { checkNames, isRecord, shown, type Wrong } from "./check.ts";

/** A group, and what becomes of those that find it full. */
export interface ConcurrencyOptions {
  /** Jobs of all recipes that name the same group are in it: letters, digits and _.:/- (at most 100). */
  readonly group: string;
  /** So many of its jobs run at once. Default: 1. */
  readonly limit?: number;
  /**
   * `"queue"`: the job waits for its turn, first come first served. `"cancel-older"`: it cancels those of runs before its own
   * that wait, and of those that run as many as it needs to; then it waits for their end. Default: `"queue"`.
   */
  readonly when?: "queue" | "cancel-older";
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.:/-]{0,99}$/;

/** Throws what `wrong` makes of the first thing that cannot be. */
export function groupOf(concurrency: unknown, wrong: Wrong): Group {
  const options = typeof concurrency === "string" ? { group: concurrency } : concurrency;
  if (!isRecord(options)) throw wrong(`concurrency must be a group's name or an object, not ${shown(concurrency)}.`);
  checkNames("concurrency", options, ["group", "limit", "when"] satisfies (keyof ConcurrencyOptions)[], wrong);
  const { group, limit = 1, when = "queue" } = options as { readonly [Name in keyof ConcurrencyOptions]?: unknown };
  if (typeof group !== "string" || !NAME.test(group))
    throw wrong(`concurrency's group cannot be ${shown(group)}: letters, digits and _.:/- (at most 100).`);
  if (typeof limit !== "number" || !Number.isInteger(limit) || limit < 1 || limit > limits.slots)
    throw wrong(`concurrency's limit must be a whole number from 1 to ${limits.slots}, not ${shown(limit)}.`);
  if (when !== "queue" && when !== "cancel-older")
    throw wrong(`concurrency's when must be "queue" or "cancel-older", not ${shown(when)}.`);
  return { name: group, limit, ...(when === "cancel-older" ? { cancelsOlder: true as const } : {}) };
}

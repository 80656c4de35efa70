// What a job and a service may both have said of them: who they run as, and what they may use.
import { ResourceLimits, User } from "../../protocol/place.ts";
import { accept, checkNames, isRecord, shown, sizeOf, type Wrong } from "./check.ts";
import type { LimitOptions } from "./place.ts";

const limitNames = ["memory", "cpus", "pids"] satisfies (keyof LimitOptions)[];

export const userOf = (option: string, value: unknown, wrong: Wrong): string =>
  accept(User, option, value, 'a name, "UID" or "UID:GID"', wrong);

export function limitsOf(option: string, value: unknown, wrong: Wrong): ResourceLimits {
  if (!isRecord(value)) throw wrong(`${option} must be an object such as { memory: "2g" }, not ${shown(value)}.`);
  checkNames(option, value, limitNames, wrong);
  const { memory, cpus, pids } = value;
  const entries = ResourceLimits.entries;
  const bytes = memory === undefined ? undefined : sizeOf(`${option}.memory`, memory, wrong);
  return {
    memory: accept(entries.memory, `${option}.memory`, bytes, "at least 6 MiB", wrong),
    cpus: accept(entries.cpus, `${option}.cpus`, cpus, "a number of cores from 0.01", wrong),
    pids: accept(entries.pids, `${option}.pids`, pids, "a whole number from 1", wrong),
  };
}

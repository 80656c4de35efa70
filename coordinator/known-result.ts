// What the record knows of a job that is over, for jobs that see it: in a run that is gone on with, or goes on from another.
import type { Exit } from "../protocol/exit.ts";
import type { JobRow } from "./store/rows.ts";

export interface KnownResult {
  readonly exit?: Exit;
  readonly durationMs: number;
  /** A value of JSON; undefined where it has none. */
  readonly output?: unknown;
}

export function knownResult({ attempts, output }: JobRow): KnownResult {
  const last = attempts.at(-1);
  const durationMs = last?.endedAt ? last.endedAt - last.startedAt : 0;
  return { ...(last?.exit ? { exit: last.exit } : {}), durationMs, output };
}

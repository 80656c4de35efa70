// A command that was never started, as the keeper sees it: no output, and the reason as its end.
import { Readable } from "node:stream";
import type { Refusal, RunningCommand, Settled } from "./backend.ts";
import { NOTHING_ENDED } from "./ending.ts";

export const notStarted = (refusal: Refusal): RunningCommand =>
  settledAtOnce({ kind: "failed", heldOpen: false, ...refusal });

export const settledAtOnce = (settled: Settled): RunningCommand => ({
  stdin: undefined,
  stdout: Readable.from([]),
  stderr: Readable.from([]),
  settled: Promise.resolve(settled),
  signal: () => {},
  kill: () => Promise.resolve(NOTHING_ENDED),
  killNow: () => {},
});

// The events that a run begins with, out of what was prepared; run.ts tells them.
import type { JobName, RunId } from "../protocol/ids.ts";
import type { PlannedJob, RunEvent } from "./events.ts";
import { fingerprintOf } from "./fingerprint.ts";
import type { KnownResult } from "./known-result.ts";
import type { Prepared } from "./prepare.ts";

export const startedEvent = (run: RunId, at: number, prepared: Prepared): RunEvent => ({
  type: "run-started",
  at,
  run,
  recipe: prepared.plan.recipe,
  jobs: jobsOf(prepared),
  fingerprint: fingerprintOf(prepared.plan),
  ...(prepared.params ? { params: prepared.params } : {}),
  ...(prepared.selection ? { selection: prepared.selection } : {}),
  ...(Object.keys(prepared.on).length > 0 ? { on: prepared.on } : {}),
  ...(prepared.after ? { after: prepared.after } : {}),
  ...(prepared.sandbox ? { sandbox: prepared.sandbox } : {}),
});

export const resumedEvent = (run: RunId, prepared: Prepared): RunEvent => ({
  type: "run-resumed",
  at: Date.now(),
  run,
  recipe: prepared.plan.recipe,
  jobs: jobsOf(prepared),
});

export const keptEvent = (job: JobName, kept: RunId, at: number, known?: KnownResult): RunEvent => ({
  type: "job-ended",
  at,
  job,
  outcome: "passed",
  kept,
  message: `passed in the run ${kept}`,
  ...(known?.output === undefined ? {} : { output: known.output }),
  durationMs: 0,
});

const jobsOf = ({ plan, fingerprints, kept }: Prepared): PlannedJob[] =>
  plan.jobs.map(({ name, needs, at }) => {
    const by = kept.get(name);
    const fingerprint = fingerprints.get(name);
    return {
      name,
      needs,
      ...(at ? { location: at } : {}),
      ...(fingerprint === undefined ? {} : { fingerprint }),
      ...(by === undefined ? {} : { kept: by }),
    };
  });

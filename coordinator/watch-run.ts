// A run as events, out of the store and the logs, while another process conducts it: for `coordinator attach`.
import { setTimeout as delay } from "node:timers/promises";
import type { AttemptId, JobName } from "../protocol/ids.ts";
import type { RunEvent } from "./events.ts";
import { readLog } from "./store/read-log.ts";
import { type AttemptRow, outcomeOfTry, type RunRow } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

const LOOK_EVERY_MS = 100;

/** Emits what happened and happens until the run is over, nobody conducts it any more, or the signal; gives its state. */
export async function watchRun(
  store: Store,
  { id: run, recipe, startedAt }: RunRow,
  emit: (event: RunEvent) => void | Promise<void>,
  signal: AbortSignal,
): Promise<RunRow["state"]> {
  const logs = new Map<AttemptId, Promise<void>>();
  const ended = new Set<JobName>();
  const planned = store.jobs(run).map(({ name, needs, kept }) => ({ name, needs, ...(kept ? { kept } : {}) }));
  await emit({ type: "run-started", at: startedAt, run, recipe, jobs: planned });

  async function follow(
    { id, job, attempt, runner, startedAt: at }: AttemptRow,
    earlier: AttemptRow | undefined,
  ): Promise<void> {
    if (earlier) await logs.get(earlier.id);
    if (earlier)
      await emit({
        type: "job-retrying",
        at: earlier.endedAt ?? at,
        job,
        attempt: earlier.attempt,
        outcome: outcomeOfTry(earlier),
        delayMs: Math.max(0, at - (earlier.endedAt ?? at)),
        ...(earlier.exit ? { exit: earlier.exit } : {}),
        ...(earlier.gap ? { gap: earlier.gap } : {}),
        ...(earlier.message === null ? {} : { message: earlier.message }),
        durationMs: (earlier.endedAt ?? at) - earlier.startedAt,
      });
    await emit({ type: "job-started", at, job, attempt, attemptId: id, runner });
    const isLive = (): boolean => store.isLive({ run, id });
    for await (const part of readLog(store.logPath({ run, id }), { follow: true, isLive, signal }))
      if (part.kind === "output")
        await emit({ type: "job-output", at: part.at, job, stream: part.stream, bytes: part.bytes });
      else if (part.kind === "note")
        await emit({ type: "job-note", at: part.at, job, from: part.from, text: part.text });
  }

  for (;;) {
    // Asked first: what happens in between is seen in the last look.
    const state = store.findRun(run);
    for (const job of store.jobs(run)) {
      for (const [index, attempt] of job.attempts.entries())
        if (!logs.has(attempt.id)) logs.set(attempt.id, follow(attempt, job.attempts[index - 1]));
      if (job.outcome === null || ended.has(job.name)) continue;
      ended.add(job.name);
      await Promise.all(job.attempts.map((attempt) => logs.get(attempt.id)));
      const last = job.attempts.at(-1);
      await emit({
        type: "job-ended",
        at: last?.endedAt ?? (job.kept ? startedAt : Date.now()),
        job: job.name,
        outcome: job.outcome,
        ...(job.allowed ? { allowed: true as const } : {}),
        ...(job.kept ? { kept: job.kept } : {}),
        ...(last?.exit ? { exit: last.exit } : {}),
        ...(last?.gap ? { gap: last.gap } : {}),
        ...(job.message === null ? {} : { message: job.message }),
        durationMs: last?.endedAt ? last.endedAt - last.startedAt : 0,
      });
    }
    if (signal.aborted) return "running";
    if (state.state !== "running") {
      if (state.state === "interrupted") {
        // What was stored of jobs that have no end.
        await Promise.all(logs.values());
        return "interrupted";
      }
      const at = state.endedAt ?? Date.now();
      await emit({ type: "run-ended", at, run, outcome: state.state, durationMs: at - startedAt });
      return state.state;
    }
    await delay(LOOK_EVERY_MS, undefined, { signal }).catch(() => {});
  }
}

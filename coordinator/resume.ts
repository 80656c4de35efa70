// What an earlier coordinator process did of a run, out of the store: jobs that are settled, attempts that may still
// run. run.ts goes on from there.
import { SortieError } from "../protocol/errors.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import type { AskedOn } from "./ask-on.ts";
import type { JobOutcome } from "./events.ts";
import type { Earlier } from "./execute-options.ts";
import type { Fleet, KnownRunner, RunnerLink } from "./fleet.ts";
import type { GivenParam } from "./given-params.ts";
import { type KnownResult, knownResult } from "./known-result.ts";
import type { SandboxGrants } from "./sandbox/grants.ts";
import { type AttemptRow, type JobRow, openAttempt, outcomeOfTry } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

export interface Resumed {
  readonly run: RunId;
  readonly recipe: string;
  readonly startedAt: number;
  readonly fingerprint: string;
  readonly params: readonly GivenParam[];
  /** What was asked of every job's runner, beside the recipe. */
  readonly on: AskedOn;
  readonly jobs: readonly JobRow[];
  /** Those that are settled, and stay so. A job that gave others is run once more, to give them again. */
  readonly over: ReadonlyMap<JobName, JobOutcome>;
  /** Attempts without an end. */
  readonly begun: readonly AttemptRow[];
  /** What its recipe may do; absent: it is in no sandbox. */
  readonly sandbox?: SandboxGrants;
  /** Whether it was run on this machine alone. */
  readonly local: boolean;
}

/** Makes this process the run's coordinator. Throws NOT_FOUND, RUN_ENDED, RUN_LIVES, and USAGE for a single command. */
export function resume(store: Store, text: string): Resumed {
  const row = store.findRun(text);
  const { id: run, recipe, startedAt, fingerprint, params, on, state, sandbox } = row;
  if (fingerprint === null)
    throw new SortieError("USAGE", `The run ${run} is a single command, whose input is gone; it cannot be resumed.`, {
      hint: "`coordinator cancel RUN` ends what is left of it.",
    });
  if (state === "running") throw new SortieError("RUN_LIVES", `The run ${run} has a coordinator.`);
  if (state !== "interrupted") throw new SortieError("RUN_ENDED", `The run ${run} ${state} already.`);
  if (!store.takeOver(run)) throw new SortieError("RUN_LIVES", `The run ${run} has just got another coordinator.`);
  const jobs = store.jobs(run);
  const givers = new Set(jobs.map(({ givenBy }) => givenBy));
  const over = new Map(
    jobs.flatMap(({ name, outcome }) => (outcome === null || givers.has(name) ? [] : [[name, outcome] as const])),
  );
  const begun = jobs.flatMap((job) => (job.outcome === null ? (openAttempt(job) ?? []) : []));
  const runners = jobs.flatMap((job) => job.attempts.map((attempt) => attempt.runnerId));
  const local = runners.length > 0 && runners.every((runner) => runner === "embedded");
  const kept = { run, recipe, startedAt, fingerprint, params, on, jobs, over, begun, local };
  return sandbox ? { ...kept, sandbox } : kept;
}

export function earlierOf({ jobs, over, begun }: Resumed, fleet: Fleet, runners: readonly KnownRunner[]): Earlier {
  const outcomes = new Map<JobName, JobOutcome>();
  const given = new Map<JobName, JobOutcome>();
  const results = new Map<JobName, KnownResult>();
  const attempts = new Map<JobName, number>();
  const failures = new Map<JobName, number>();
  const losses = new Map<JobName, number>();
  const fingerprints = new Map<JobName, string>();
  const givers = new Map<JobName, JobName | null>();
  for (const job of jobs) {
    const { name, outcome, givenBy, attempts: rows } = job;
    if (outcome !== null && over.has(name)) (givenBy === null ? outcomes : given).set(name, outcome);
    givers.set(name, givenBy);
    if (givenBy !== null && job.fingerprint !== null) fingerprints.set(name, job.fingerprint);
    results.set(name, knownResult(job));
    attempts.set(name, rows.at(-1)?.attempt ?? 0);
    const tries = rows.filter((row) => row.endedAt !== null && row.outcome !== "interrupted").map(outcomeOfTry);
    failures.set(name, tries.filter((outcome) => outcome === "failed").length);
    losses.set(name, tries.filter((outcome) => outcome === "lost").length);
  }
  return {
    outcomes,
    given,
    results,
    attempts,
    failures,
    losses,
    fingerprints,
    begun: new Map(
      begun.map((row) => {
        const { id: attemptId, attempt, startedAt, driven } = row;
        const runner = linkOf(fleet, runners, row);
        return [row.job, { attemptId, attempt, runner, startedAt, driven, givenBy: givers.get(row.job) ?? null }];
      }),
    ),
  };
}

/** The runner that an attempt, or a place, was given to. */
export const linkOf = (
  fleet: Fleet,
  runners: readonly KnownRunner[],
  { runnerId, runner }: Pick<AttemptRow, "runnerId" | "runner">,
): RunnerLink => runners.find(({ id }) => id === runnerId) ?? linkTo(fleet, runnerId ?? "", runner);

/** A runner that does not answer now, or is trusted no more; the embedded one went with its process. */
function linkTo(fleet: Fleet, id: string, name: string): RunnerLink {
  const pin = fleet.trust.current(id);
  if (pin) return fleet.link(pin);
  return {
    id,
    name,
    open: async () => {
      throw new SortieError("NOT_FOUND", `The runner ${name} is not trusted any more.`);
    },
  };
}

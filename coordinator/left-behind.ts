// Attempts that an earlier coordinator process left under way, and that this one cannot go on with as they are: calls of
// functions, which are ended at once, and jobs that another job gave, which are not known before that gives them again.
// Those are read on meanwhile, into their logs, so that no lease runs out. execute.ts asks for them.
import { asSortieError } from "../protocol/errors.ts";
import type { AttemptId, JobName, RunId } from "../protocol/ids.ts";
import { type Dispatched, dispatch } from "./dispatch.ts";
import { endDriven } from "./drive.ts";
import type { RunEvent } from "./events.ts";
import type { RunnerLink } from "./fleet.ts";
import type { PlanJob } from "./plan.ts";
import type { Secrets } from "./secrets.ts";
import { stdinOf } from "./stdin-source.ts";

export interface BegunAttempt {
  readonly attemptId: AttemptId;
  /** The first is 1. */
  readonly attempt: number;
  readonly runner: RunnerLink;
  readonly startedAt: number;
  /** A function drove it, which went with that process. */
  readonly driven: boolean;
  /** The job that gave its job. */
  readonly givenBy: JobName | null;
}

export interface LeftBehindOptions {
  readonly run: RunId;
  /** The coordinator's folder. */
  readonly folder: string;
  readonly secrets: Secrets;
  readonly begun: ReadonlyMap<JobName, BegunAttempt>;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** Whether the run has a job of that name by now. */
  readonly knows: (name: JobName) => boolean;
  /** Called once what an attempt had on its runner is free. */
  readonly over: (name: JobName) => void;
  /** The run is cancelled, and with it what no job has given again. */
  readonly cancelled: AbortSignal;
  readonly abandoned: AbortSignal;
}

interface Left {
  readonly begun: BegunAttempt;
  readonly cancel: AbortController;
  /** Its job, once that is known; undefined where it never will be. */
  readonly job: PromiseWithResolvers<PlanJob | undefined>;
  readonly result: Promise<Dispatched>;
  isClaimed: boolean;
  isOver: boolean;
}

export class LeftBehind {
  readonly #options: LeftBehindOptions;
  readonly #left = new Map<JobName, Left>();

  constructor(options: LeftBehindOptions) {
    this.#options = options;
  }

  /** Gives the jobs that are not known yet, each with the runner that it has a slot of. */
  begin(): { readonly job: PlanJob; readonly runner: string }[] {
    for (const [name, begun] of this.#options.begun)
      if (begun.driven || begun.givenBy !== null) this.#left.set(name, this.#leftOf(name, begun));
    return [...this.#left].flatMap(([name, { begun }]) =>
      this.#options.knows(name) ? [] : [{ job: unknownJob(name), runner: begun.runner.id }],
    );
  }

  /** Whether what it had on its runner is free already. */
  isOver(name: JobName): boolean {
    return this.#left.get(name)?.isOver ?? false;
  }

  /** The job is known now: it comes out as its attempt does, and what that writes from now on is told. */
  claim(job: PlanJob): void {
    const left = this.#left.get(job.name);
    if (!left) return;
    left.isClaimed = true;
    left.job.resolve(job);
  }

  /** How a claimed one came out; undefined where it is not one of these. Rejects as dispatch() does. */
  result(name: JobName, cancelled: AbortSignal): Promise<Dispatched> | undefined {
    const left = this.#left.get(name);
    if (left) follow(cancelled, left.cancel);
    return left?.result;
  }

  /** False where it is not one of these, or over. */
  cancel(name: JobName): boolean {
    const left = this.#left.get(name);
    if (!left || left.isOver) return false;
    left.cancel.abort("user");
    return true;
  }

  /** The job is not what it was: its attempt is ended. Never rejects. */
  async drop(name: JobName): Promise<void> {
    const left = this.#left.get(name);
    if (!left) return;
    this.#left.delete(name);
    await this.#end(left);
  }

  /** That job is settled: what it did not give again is nobody's. */
  leave(by: JobName): void {
    for (const [name, { begun, isClaimed }] of this.#left) {
      const { givenBy } = begun;
      if (givenBy === null || isClaimed) continue;
      const isForgotten = givenBy === by || (givenBy.startsWith(`${by}.`) && !this.#options.knows(givenBy));
      if (isForgotten) void this.#end(this.#left.get(name) as Left);
    }
  }

  /** Ends those that no job gave again, and waits for all. Never rejects. */
  async close(): Promise<void> {
    await Promise.all(
      [...this.#left.values()].map((left) => (left.isClaimed ? left.result.catch(() => {}) : this.#end(left))),
    );
  }

  async #end(left: Left): Promise<void> {
    left.job.resolve(undefined);
    if (!this.#options.abandoned.aborted) left.cancel.abort("run");
    await left.result.catch(() => {});
  }

  #leftOf(name: JobName, begun: BegunAttempt): Left {
    const cancel = new AbortController();
    const job = Promise.withResolvers<PlanJob | undefined>();
    const result = begun.driven ? endCall(begun) : this.#readOn(name, begun, cancel.signal, job.promise);
    const left: Left = { begun, cancel, job, result, isClaimed: false, isOver: false };
    const { cancelled, over } = this.#options;
    const stop = (): void => {
      if (!left.isClaimed) cancel.abort(cancelled.reason);
    };
    if (cancelled.aborted) stop();
    cancelled.addEventListener("abort", stop, { once: true });
    const ended = (): void => {
      left.isOver = true;
      cancelled.removeEventListener("abort", stop);
      over(name);
    };
    result.then(ended, ended);
    return left;
  }

  /** Until its job is known nobody is told what it writes: who may see it is not known either. */
  #readOn(
    name: JobName,
    begun: BegunAttempt,
    cancelled: AbortSignal,
    known: Promise<PlanJob | undefined>,
  ): Promise<Dispatched> {
    const { run, folder, secrets, emit, abandoned } = this.#options;
    let isKnown = false;
    void known.then((job) => {
      isKnown = job !== undefined;
    });
    return dispatch({
      run,
      job: unknownJob(name),
      attempt: begun.attempt,
      begun: begun.attemptId,
      runner: begun.runner,
      folder,
      secrets,
      async emit(event) {
        // It never reached its runner: its job is placed anew.
        if (event.type === "job-returned") await known;
        if (isKnown) await emit(event);
      },
      cancelled,
      abandoned,
      stdin: stdinOnce(known, secrets),
    });
  }
}

/** As far as it is known. */
const unknownJob = (name: JobName): PlanJob => ({
  name,
  needs: [],
  on: { labels: {} },
  steps: [],
  env: [],
  graceMs: 0,
});

async function* stdinOnce(known: Promise<PlanJob | undefined>, secrets: Secrets): AsyncIterable<Uint8Array> {
  const job = await known;
  const bytes = job && stdinOf(job, secrets);
  if (bytes) yield* bytes;
}

function follow(signal: AbortSignal, controller: AbortController): void {
  if (signal.aborted) controller.abort(signal.reason);
  else signal.addEventListener("abort", () => controller.abort(signal.reason), { once: true });
}

/** The job is tried again, from its beginning. Rejects with SUPERSEDED only. */
async function endCall({ runner, attemptId }: BegunAttempt): Promise<Dispatched> {
  const since = Date.now();
  const message = "its function ended with the coordinator that ran it";
  try {
    await endDriven(runner, attemptId);
  } catch (error) {
    // A runner that knows it no more, or is gone, has ended it or will when the lease is up.
    if (asSortieError(error).code === "SUPERSEDED") throw error;
  }
  return { kind: "ended", outcome: "lost", message, durationMs: Date.now() - since, attemptId };
}

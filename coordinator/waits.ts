// What a job that is ready waits for besides free slots: a place in its group; and how long it may wait in all. execute.ts
// tells it what becomes of the jobs, and is told whose turn it is, and who waited too long.
import { SortieError } from "../protocol/errors.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import type { RunEvent } from "./events.ts";
import type { PlanJob } from "./plan.ts";
import type { Claims } from "./store/claims.ts";
import { duration } from "./views/format.ts";

export interface WaitsOptions {
  readonly run: RunId;
  readonly claims: Claims;
  readonly emit: (event: RunEvent) => void | Promise<void>;
  /** The job has a place in its group, and may be given to a runner. */
  readonly admit: (name: JobName) => void;
  /** It waited for as long as it may. */
  readonly late: (job: PlanJob, message: string) => void;
  /** A newer job of its group cancels it. */
  readonly cancel: (name: JobName) => void;
  /** Jobs were admitted, out of turn. */
  readonly changed: () => void;
  /** The record cannot be used. */
  readonly failed: (error: unknown) => void;
}

export class Waits {
  readonly #options: WaitsOptions;
  /** Jobs without a place in their group, by group, in the order in which they came. */
  readonly #lines = new Map<string, Map<JobName, PlanJob>>();
  /** Jobs with a place in their group. */
  readonly #has = new Map<JobName, PlanJob>();
  /** Jobs that were told to end for a newer one. */
  readonly #told = new Set<JobName>();
  readonly #timers = new Map<JobName, NodeJS.Timeout>();
  #looking: NodeJS.Timeout | undefined;

  constructor(options: WaitsOptions) {
    this.#options = options;
  }

  /** The job could start, but for its group and for a runner. */
  async ready(job: PlanJob): Promise<void> {
    const { name, queueMs, group } = job;
    if (queueMs !== undefined)
      this.#timers.set(
        name,
        setTimeout(() => this.#late(job, queueMs), queueMs),
      );
    if (!group) return;
    const { run, claims, emit } = this.#options;
    claims.ask(run, name, group);
    const line = this.#lines.get(group.name) ?? new Map<JobName, PlanJob>();
    this.#lines.set(group.name, line.set(name, job));
    this.#look(group.name);
    this.#lookAgain();
    if (this.#has.has(name)) return;
    const before = claims.before(run, name, group);
    const why = `its group ${group.name} is full${before === undefined ? "" : `: ${before} is before it`}`;
    await emit({ type: "job-waiting", at: Date.now(), job: name, message: why });
  }

  /** It runs already, by an earlier process, and has what it waited for. */
  runs(job: PlanJob): void {
    const { name, group } = job;
    if (!group) return;
    this.#options.claims.ask(this.#options.run, name, group, true);
    this.#has.set(name, job);
    this.#lookAgain();
  }

  /** A runner has begun it. */
  started(name: JobName): void {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** It is settled: its place in the group is another one's. */
  over({ name, group }: PlanJob): void {
    this.started(name);
    if (!group) return;
    const stood = this.#lines.get(group.name)?.delete(name) ?? false;
    if (!this.#has.delete(name) && !stood) return;
    this.#options.claims.giveUp(this.#options.run, name);
    this.#look(group.name);
  }

  close(): void {
    for (const timer of this.#timers.values()) clearTimeout(timer);
    clearInterval(this.#looking);
  }

  #late(job: PlanJob, queueMs: number): void {
    this.#timers.delete(job.name);
    const { group } = job;
    const within = `within ${duration(queueMs)}, its queue timeout.`;
    if (group && !this.#has.has(job.name))
      return this.#options.late(job, `There was no place in its group ${group.name} ${within}`);
    const { message, hint } = new SortieError("NO_RUNNER", `No runner had a place for it ${within}`);
    this.#options.late(job, `${message} ${hint}`);
  }

  /** The first of the line has its turn before those behind it. */
  #look(group: string): boolean {
    let admitted = false;
    for (const [name, job] of this.#lines.get(group) ?? []) {
      if (!job.group || !this.#options.claims.take(this.#options.run, name, job.group)) break;
      this.#lines.get(group)?.delete(name);
      this.#has.set(name, job);
      this.#options.admit(name);
      admitted = true;
    }
    return admitted;
  }

  /** Once. */
  #tellCancelled(job: JobName, from: string, by: string): void {
    if (this.#told.has(job)) return;
    this.#told.add(job);
    const text = `cancelled: ${by} of the same group came after it`;
    (async () => this.#options.emit({ type: "job-note", at: Date.now(), job, from, text }))().catch(
      this.#options.failed,
    );
  }

  /** Other processes give places up, and want jobs of this one cancelled. */
  #lookAgain(): void {
    this.#looking ??= setInterval(() => {
      try {
        for (const { job, group, by } of this.#options.claims.cancelled(this.#options.run)) {
          this.#tellCancelled(job, group, by);
          // Each time: on its way to a runner a job cannot be cancelled yet.
          this.#options.cancel(job);
        }
        // Each: one group's turn says nothing of another's.
        if ([...this.#lines.keys()].filter((group) => this.#look(group)).length > 0) this.#options.changed();
      } catch (error) {
        this.#options.failed(error);
      }
    }, limits.groupLookMs);
  }
}

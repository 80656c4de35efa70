// Which job may go where, now. Pure but for what it is told; execute.ts drives it. Ready jobs wait in one line for
// each thing that is asked of a runner, so a placement costs the number of those and of runners, not of jobs.
import type { JobName } from "../protocol/ids.ts";
import type { Labels } from "../protocol/messages.ts";
import type { JobOutcome } from "./events.ts";
import type { Plan, PlanJob } from "./plan.ts";
import { fits, selectorKey } from "./selectors.ts";

/** A runner that takes jobs now. `free` is what is left of its slots. */
export interface RunnerState {
  readonly id: string;
  readonly name: string;
  readonly labels: Labels;
  readonly mandatory?: readonly string[] | undefined;
  readonly free: number;
  /** In all; where they are not known, enough. */
  readonly slots?: number;
}

export interface Placement {
  readonly job: PlanJob;
  /** The runner's id. */
  readonly runner: string;
}

/** A job that will never run, and the job whose outcome decided that. */
export interface Skip {
  readonly job: PlanJob;
  readonly because: JobName;
}

/** First come first served among jobs that ask for the same, with the same priority. */
class Line {
  readonly on: PlanJob["on"];
  readonly priority: number;
  #jobs: { job: PlanJob; since: number }[] = [];
  #head = 0;

  constructor({ on, priority = 0 }: PlanJob) {
    this.on = on;
    this.priority = priority;
  }

  get first(): { readonly job: PlanJob; readonly since: number } | undefined {
    return this.#jobs[this.#head];
  }

  get jobs(): PlanJob[] {
    return this.#jobs.slice(this.#head).map(({ job }) => job);
  }

  push(job: PlanJob, since: number): void {
    this.#jobs.push({ job, since });
  }

  /** A job that stood here before comes back to where it stood: near the head, which it had reached. */
  putBack(job: PlanJob, since: number): void {
    let at = this.#head;
    while ((this.#jobs[at]?.since ?? Number.POSITIVE_INFINITY) < since) at++;
    this.#jobs.splice(at, 0, { job, since });
  }

  remove(job: PlanJob): void {
    const at = this.#jobs.findIndex((one, index) => index >= this.#head && one.job === job);
    if (at >= 0) this.#jobs.splice(at, 1);
  }

  shift(): void {
    this.#head++;
    // The served part is cut off now and then, so that the line does not grow with the run.
    if (this.#head > 1_000 && this.#head * 2 > this.#jobs.length) {
      this.#jobs = this.#jobs.slice(this.#head);
      this.#head = 0;
    }
  }
}

const isBefore = (one: Line, other: Line): boolean =>
  one.priority === other.priority ? (one.first?.since ?? 0) < (other.first?.since ?? 0) : one.priority > other.priority;

export class Schedule {
  readonly #lines = new Map<string, Line>();
  readonly #missing = new Map<JobName, number>();
  readonly #dependants = new Map<JobName, PlanJob[]>();
  readonly #byName = new Map<JobName, PlanJob>();
  readonly #unsettled: Set<JobName>;
  /** Jobs that were handed out, by place() or as hopeless, and are still to be settled. */
  readonly #taken = new Set<JobName>();
  /** When a job became ready, in turns. */
  readonly #since = new Map<JobName, number>();

  constructor(plan: Plan) {
    this.#unsettled = new Set(plan.jobs.map((job) => job.name));
    for (const job of plan.jobs) {
      this.#byName.set(job.name, job);
      this.#missing.set(job.name, job.needs.length);
      for (const need of job.needs) {
        const dependants = this.#dependants.get(need);
        if (dependants) dependants.push(job);
        else this.#dependants.set(need, [job]);
      }
    }
    for (const job of plan.jobs) if (job.needs.length === 0) this.#ready(job);
  }

  /** Every job is settled or skipped. */
  get settled(): boolean {
    return this.#unsettled.size === 0;
  }

  /**
   * Takes ready jobs off their lines, to the fitting runner with most free slots each: of the highest priority the one
   * that waits longest first. A job of several slots that fit nowhere yet keeps a runner free for it, so that smaller
   * ones behind it do not hold it up for ever.
   */
  place(runners: readonly RunnerState[]): Placement[] {
    const free = runners.filter((runner) => runner.free > 0).map((runner) => ({ ...runner }));
    const placements: Placement[] = [];
    const open = new Set([...this.#lines.values()].filter((line) => line.first));
    while (open.size > 0) {
      let line: Line | undefined;
      for (const one of open) if (!line || isBefore(one, line)) line = one;
      const first = line?.first;
      if (!line || !first) break;
      const { slots = 1 } = line.on;
      let best: (typeof free)[number] | undefined;
      for (const runner of free) if (runner.free > (best?.free ?? 0) && fits(line.on, runner)) best = runner;
      if (!best || best.free < slots) {
        if (best) best.free = 0;
        open.delete(line);
        continue;
      }
      best.free -= slots;
      line.shift();
      if (!line.first) open.delete(line);
      this.#taken.add(first.job.name);
      placements.push({ job: first.job, runner: best.id });
    }
    return placements;
  }

  /** Takes one ready job off its line, for somebody who knows where it is already. Gives it, where it stood there. */
  take(name: JobName): PlanJob | undefined {
    const job = this.#byName.get(name);
    if (!job || !this.#unsettled.has(name) || this.#taken.has(name)) return undefined;
    this.#lineOf(job).remove(job);
    this.#taken.add(name);
    return job;
  }

  /** The job came out so: unlocks what needs it, or skips it and what needs that. Gives the skipped. */
  settle(name: JobName, outcome: JobOutcome): Skip[] {
    if (!this.#unsettled.delete(name)) return [];
    this.#taken.delete(name);
    const skipped: Skip[] = [];
    const fine = outcome === "passed" || (outcome === "failed" && this.#byName.get(name)?.allowFailure === true);
    const over = [{ name, fine }];
    for (let one = over.pop(); one; one = over.pop()) {
      for (const job of this.#dependants.get(one.name) ?? []) {
        if (one.fine || job.always) this.#unlock(job);
        else if (this.#unsettled.delete(job.name)) {
          skipped.push({ job, because: name });
          over.push({ name: job.name, fine: false });
        }
      }
    }
    return skipped;
  }

  /** One of what the job needs is over. */
  #unlock(job: PlanJob): void {
    const missing = (this.#missing.get(job.name) ?? 0) - 1;
    this.#missing.set(job.name, missing);
    if (missing === 0 && this.#unsettled.has(job.name)) this.#ready(job);
  }

  /** A placement that came to nothing: the job waits again, ahead of those that became ready after it. */
  requeue(name: JobName): void {
    const job = this.#byName.get(name);
    if (!job || !this.#taken.delete(name)) return;
    this.#lineOf(job).putBack(job, this.#since.get(name) ?? 0);
  }

  /** No more placements, but of jobs that run always; `all`: not even of those. Gives the jobs that never started. */
  stop(all = false): PlanJob[] {
    const never = [...this.#unsettled]
      .filter((name) => !this.#taken.has(name))
      .map((name) => this.#byName.get(name) as PlanJob)
      .filter((job) => all || !job.always);
    for (const job of never) this.#unsettled.delete(job.name);
    const stay = [...this.#lines.values()].flatMap((line) => line.jobs.filter((job) => this.#unsettled.has(job.name)));
    this.#lines.clear();
    for (const job of stay) this.#lineOf(job).putBack(job, this.#since.get(job.name) ?? 0);
    for (const { name } of never) for (const job of this.#dependants.get(name) ?? []) if (job.always) this.#unlock(job);
    return never;
  }

  /** Takes off their lines the ready jobs whose selector nobody can serve; each is to be settled. */
  takeHopeless(servable: (on: PlanJob["on"]) => boolean): PlanJob[] {
    const hopeless: PlanJob[] = [];
    for (const [key, line] of this.#lines) {
      if (!line.first || servable(line.on)) continue;
      for (const job of line.jobs) {
        hopeless.push(job);
        this.#taken.add(job.name);
      }
      this.#lines.delete(key);
    }
    return hopeless;
  }

  #ready(job: PlanJob): void {
    const since = this.#since.size;
    this.#since.set(job.name, since);
    this.#lineOf(job).push(job, since);
  }

  #lineOf(job: PlanJob): Line {
    const key = `${job.priority ?? 0} ${selectorKey(job.on)}`;
    const line = this.#lines.get(key) ?? new Line(job);
    this.#lines.set(key, line);
    return line;
  }
}

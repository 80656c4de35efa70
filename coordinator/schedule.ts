// Which job may go where, now: what needs what, and with placing.ts, who waits for which runner. Pure; execute.ts drives
// it. Whatever is told costs what hangs on it: no call looks at all jobs, or at all runners.
import { SortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import type { JobOutcome } from "./events.ts";
import { Placing, type PlacingRunner } from "./placing.ts";
import type { Plan, PlanJob } from "./plan.ts";

export interface Placement {
  readonly job: PlanJob;
  /** The runner's id. */
  readonly runner: string;
  /** Those of its other places, in the order of the job's `also`. */
  readonly also?: readonly string[];
}

/** A job that will never run, and the job whose outcome decided that. */
export interface Skip {
  readonly job: PlanJob;
  readonly because: JobName;
}

export class Schedule {
  readonly #placing = new Placing();
  readonly #missing = new Map<JobName, number>();
  readonly #dependants = new Map<JobName, PlanJob[]>();
  readonly #byName = new Map<JobName, PlanJob>();
  readonly #unsettled = new Set<JobName>();
  /** Jobs that were handed out, by place(), take() or as hopeless, and are still to be settled. */
  readonly #taken = new Set<JobName>();
  /** When a job became ready, in turns. */
  readonly #since = new Map<JobName, number>();
  /** Jobs that are over, and whether what needs them goes on. */
  readonly #over = new Map<JobName, boolean>();
  /** Jobs that were under way when one that they need came out so that they would be skipped, and that one. */
  readonly #unfounded = new Map<JobName, JobName>();
  readonly #hopeless: PlanJob[] = [];
  /** Ready jobs that wait for more than a runner, or not for ever; not told yet. */
  readonly #delayed = new Set<PlanJob>();
  /** Those that have no place in their group yet: they stand in no line. */
  readonly #held = new Set<JobName>();
  #stopped: "not" | "but-always" | "all" = "not";

  constructor(plan: Plan, runners: readonly PlacingRunner[]) {
    for (const runner of runners) this.#placing.addRunner(runner);
    for (const job of plan.jobs) this.#know(job);
    for (const job of plan.jobs) if (job.needs.length === 0) this.#ready(job);
  }

  /** Every job is settled or skipped. */
  get settled(): boolean {
    return this.#unsettled.size === 0;
  }

  /** What placing has cost so far, in steps. */
  get looks(): number {
    return this.#placing.looks;
  }

  isSettled(name: JobName): boolean {
    return !this.#unsettled.has(name);
  }

  job(name: JobName): PlanJob | undefined {
    return this.#byName.get(name);
  }

  /** It takes no jobs for now: it is full, or away. */
  pause(runner: string): void {
    this.#placing.pause(runner);
  }

  resume(runner: string): void {
    this.#placing.pause(runner, false);
  }

  /** It takes no jobs any more. */
  lose(runner: string): void {
    for (const job of this.#placing.lose(runner)) this.#giveUp(job);
  }

  /** Whether the runners that are left could hold the job. */
  serves(job: PlanJob): boolean {
    return this.#placing.serves(job);
  }

  /**
   * Takes ready jobs off their lines, to the fitting runner with most free slots each: of the highest priority the one
   * that waits longest first. For one of several slots, or places, that finds no room, slots are kept as they get free.
   */
  place(): Placement[] {
    return this.#placing.place().map(({ job, runners: [runner = "", ...also] }) => {
      this.#taken.add(job.name);
      return { job, runner, ...(also.length > 0 ? { also } : {}) };
    });
  }

  /** A job that has become ready, and has a group or a queue timeout. One with a group is placed once it is admitted. */
  takeDelayed(): PlanJob | undefined {
    const [first] = this.#delayed;
    if (first) this.#delayed.delete(first);
    return first;
  }

  /** The job has a place in its group. */
  admit(name: JobName): void {
    const job = this.#byName.get(name);
    if (job && this.#held.delete(name) && this.#unsettled.has(name) && !this.#taken.has(name)) this.#wait(job);
  }

  /** A job that the run does not know yet has slots of that runner, until it is released or taken. */
  hold(job: PlanJob, runner: string): void {
    this.#placing.occupy(job, [runner]);
  }

  /** Takes one job off its line, for somebody who knows where it is already; those runners' slots are its own then. */
  take(name: JobName, runners: readonly string[] = []): PlanJob | undefined {
    const job = this.#byName.get(name);
    if (!job || !this.#unsettled.has(name) || this.#taken.has(name)) return undefined;
    this.#placing.remove(name);
    this.#delayed.delete(job);
    this.#held.delete(name);
    this.#placing.release(name);
    if (runners.length > 0) this.#placing.occupy(job, runners);
    this.#taken.add(name);
    return job;
  }

  /** The job has its slots no more, though it may not be settled yet. */
  release(name: JobName): void {
    this.#placing.release(name);
  }

  /** The job came out so: unlocks what needs it, or skips it and what needs that. Gives the skipped. */
  settle(name: JobName, outcome: JobOutcome): Skip[] {
    if (!this.#unsettled.delete(name)) return [];
    this.#taken.delete(name);
    this.#placing.remove(name);
    this.#placing.release(name);
    const fine = outcome === "passed" || (outcome === "failed" && this.#byName.get(name)?.allowFailure === true);
    return this.#end(name, fine, name);
  }

  /**
   * A placement that came to nothing: the job waits again, ahead of those that became ready after it. One that was taken
   * before it was ready waits for what it needs first, or is skipped. Gives the skipped.
   */
  requeue(name: JobName): Skip[] {
    const job = this.#byName.get(name);
    if (!job || !this.#taken.delete(name)) return [];
    this.#placing.release(name);
    const because = this.#unfounded.get(name);
    if (because !== undefined && this.#unsettled.delete(name))
      return [{ job, because }, ...this.#end(name, false, because)];
    if (this.isReady(name)) this.#wait(job);
    return [];
  }

  /** That runner is not for this job, whatever it asks for: when it waits again, it waits for others. */
  avoid(name: JobName, runner: string): void {
    const job = this.#byName.get(name);
    if (!job) return;
    // Sorted, so that jobs that are kept away from the same ones stand in one line.
    const not = [...new Set([...(job.on.not ?? []), runner])].sort();
    this.#byName.set(name, { ...job, on: { ...job.on, not } });
  }

  /** Whether all that the job needs is over. */
  isReady(name: JobName): boolean {
    return this.#missing.get(name) === 0;
  }

  /**
   * Jobs that one which runs has made join. Whatever needs that job waits for them too, and is skipped with them, so none
   * of them may need what waits for it: planMore() sees to that. Gives those that will not run, as settle() does.
   */
  join(jobs: readonly PlanJob[], by: JobName): Skip[] {
    if (!this.#unsettled.has(by)) throw new SortieError("INTERNAL", `${by} is over: no job can join by it.`);
    const known = jobs.find(({ name }) => this.#byName.has(name));
    if (known) throw new SortieError("INTERNAL", `The run has a job ${known.name} already.`);
    for (const job of this.#dependants.get(by) ?? []) {
      this.#missing.set(job.name, (this.#missing.get(job.name) ?? 0) + jobs.length);
      for (const { name } of jobs) this.#dependantsOf(name).push(job);
    }
    for (const job of jobs) this.#know(job);
    const skipped: Skip[] = [];
    for (const job of jobs) {
      const stopped = this.#stopped === "all" || (this.#stopped === "but-always" && !job.always);
      const failed = stopped ? by : job.always ? undefined : job.needs.find((need) => this.#over.get(need) === false);
      if (failed !== undefined && this.#unsettled.delete(job.name))
        skipped.push({ job, because: failed }, ...this.#end(job.name, false, failed));
      else if (this.#unsettled.has(job.name) && this.#missing.get(job.name) === 0) this.#ready(job);
    }
    return skipped;
  }

  /** No more placements, but of jobs that run always; `all`: not even of those. Gives the jobs that never started. */
  stop(all = false): PlanJob[] {
    this.#stopped = all ? "all" : "but-always";
    const never = [...this.#unsettled]
      .filter((name) => !this.#taken.has(name))
      .map((name) => this.#byName.get(name) as PlanJob)
      .filter((job) => all || !job.always);
    for (const job of never) {
      this.#unsettled.delete(job.name);
      this.#placing.remove(job.name);
    }
    for (const { name } of never) this.#end(name, false, name);
    return never;
  }

  /** Takes a ready job off its line that no runner is left for; it is to be settled. */
  takeHopeless(): PlanJob | undefined {
    return this.#hopeless.shift();
  }

  #know(job: PlanJob): void {
    this.#byName.set(job.name, job);
    this.#unsettled.add(job.name);
    let missing = 0;
    for (const need of job.needs) {
      if (this.#over.has(need)) continue;
      missing++;
      this.#dependantsOf(need).push(job);
    }
    this.#missing.set(job.name, missing);
  }

  #dependantsOf(name: JobName): PlanJob[] {
    const known = this.#dependants.get(name);
    if (known) return known;
    const none: PlanJob[] = [];
    this.#dependants.set(name, none);
    return none;
  }

  /** The job is over. Gives those that are skipped with it. */
  #end(name: JobName, fine: boolean, because: JobName): Skip[] {
    const skipped: Skip[] = [];
    const ended = [{ name, fine }];
    for (let one = ended.pop(); one; one = ended.pop()) {
      this.#over.set(one.name, one.fine);
      for (const job of this.#dependants.get(one.name) ?? []) {
        if (one.fine || job.always) this.#unlock(job);
        // What runs is not skipped, but it does not begin again.
        else if (this.#taken.has(job.name)) this.#unfounded.set(job.name, because);
        else if (this.#unsettled.delete(job.name)) {
          skipped.push({ job, because });
          ended.push({ name: job.name, fine: false });
        }
      }
      this.#dependants.delete(one.name);
    }
    return skipped;
  }

  /** One of what the job needs is over. */
  #unlock(job: PlanJob): void {
    const missing = (this.#missing.get(job.name) ?? 0) - 1;
    this.#missing.set(job.name, missing);
    // One that was taken before it was ready is under way already.
    if (missing === 0 && this.#unsettled.has(job.name) && !this.#taken.has(job.name)) this.#ready(job);
  }

  #ready(job: PlanJob): void {
    this.#since.set(job.name, this.#since.size);
    if (job.group || job.queueMs !== undefined) this.#delayed.add(job);
    if (job.group) this.#held.add(job.name);
    else this.#wait(job);
  }

  #wait(job: PlanJob): void {
    if (this.#placing.serves(job)) this.#placing.add(job, this.#since.get(job.name) ?? 0);
    else this.#giveUp(job);
  }

  #giveUp(job: PlanJob): void {
    this.#taken.add(job.name);
    this.#hopeless.push(job);
  }
}

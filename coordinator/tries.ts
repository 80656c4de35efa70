// The tries of a run's jobs: how many there were and how they came out, whether there is another one, and those that wait for it.
// execute.ts tells it what became of each.
import type { Exit } from "../protocol/exit.ts";
import type { JobName } from "../protocol/ids.ts";
import type { JobOutcome, RunEvent } from "./events.ts";
import type { Earlier } from "./execute-options.ts";
import type { PlanJob } from "./plan.ts";
import { backoffMs, isTriedAgain } from "./recipe/retry.ts";

/** Attempts of a job that the infrastructure failed. */
const MOST_ATTEMPTS = 3;
/** Runners that a job is offered to, where each denies it: one that is missing a grant is mostly one of many. */
const MOST_DENIALS = 10;

export type HowTried = Omit<RunEvent & { type: "job-retrying" }, "type" | "at" | "job">;

export class Tries {
  readonly #attempts: Map<JobName, number>;
  readonly #failures: Map<JobName, number>;
  readonly #losses: Map<JobName, number>;
  /** What runners said that denied a job. */
  readonly #denials = new Map<JobName, readonly string[]>();
  /** Jobs that failed, until they are tried again: they hold no slot. */
  readonly #waiting = new Map<JobName, { readonly timer: NodeJS.Timeout; readonly how: HowTried }>();

  constructor(earlier?: Pick<Earlier, "attempts" | "failures" | "losses">) {
    this.#attempts = new Map(earlier?.attempts);
    this.#failures = new Map(earlier?.failures);
    this.#losses = new Map(earlier?.losses);
  }

  /** The number of the attempt that is made now, or that an earlier process made. */
  number(name: JobName, isBegun: boolean): number {
    const made = this.#attempts.get(name);
    return isBegun ? (made ?? 1) : (made ?? 0) + 1;
  }

  /** One that an earlier process made reached no runner. */
  notMade(name: JobName, attempt: number): void {
    this.#attempts.set(name, attempt - 1);
  }

  /** `counts`: whether a loss says something of the job or of its runner. */
  ended(name: JobName, attempt: number, outcome: JobOutcome, counts: boolean): void {
    this.#attempts.set(name, attempt);
    const more = (of: Map<JobName, number>, is: boolean) => of.set(name, (of.get(name) ?? 0) + (is ? 1 : 0));
    more(this.#failures, outcome === "failed");
    more(this.#losses, outcome === "lost" && counts);
  }

  /** The pause before another try, after one that came out so; undefined where there is none. */
  pauseMs({ name, retry }: PlanJob, outcome: JobOutcome, exit: Exit | undefined): number | undefined {
    if (outcome === "lost") return (this.#losses.get(name) ?? 0) < MOST_ATTEMPTS ? 0 : undefined;
    const failures = this.#failures.get(name) ?? 0;
    if (outcome !== "failed" || !retry || !exit || !isTriedAgain(retry, failures, exit)) return undefined;
    return backoffMs(retry, failures, Math.random());
  }

  /** Another job has the name now. */
  forget(name: JobName): void {
    this.#failures.delete(name);
    this.#losses.delete(name);
  }

  /** False where no other runner is asked any more. */
  denied(name: JobName, said: string): boolean {
    const all = [...(this.#denials.get(name) ?? []), said];
    this.#denials.set(name, all);
    return all.length < MOST_DENIALS;
  }

  /** What all runners said that denied the job; undefined where none did. */
  whyDenied(name: JobName): string | undefined {
    const said = this.#denials.get(name);
    return said && `DENIED: ${said.join(" ")}`;
  }

  wait(name: JobName, how: HowTried, again: () => void): void {
    const timer = setTimeout(() => {
      this.#waiting.delete(name);
      again();
    }, how.delayMs);
    this.#waiting.set(name, { timer, how });
  }

  isWaiting(name: JobName): boolean {
    return this.#waiting.has(name);
  }

  /** How the try went that it waits after, and does not any more; undefined where it does not wait. */
  stopWaiting(name: JobName): HowTried | undefined {
    const one = this.#waiting.get(name);
    if (!one) return undefined;
    clearTimeout(one.timer);
    this.#waiting.delete(name);
    return one.how;
  }

  close(): void {
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
  }
}

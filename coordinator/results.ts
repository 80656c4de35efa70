// What came of the jobs of a run, for the functions and conditions that see it. execute.ts keeps it.
import type { Exit } from "../protocol/exit.ts";
import type { JobName } from "../protocol/ids.ts";
import { lastBytes } from "../protocol/last-bytes.ts";
import type { JobOutcome } from "./events.ts";
import type { PlanJob, SeenNeed } from "./plan.ts";
import type { JobResult } from "./recipe/result.ts";

/** Of what a job wrote to its standard error. */
const TAIL_BYTES = 4 * 1024;

export class Results {
  readonly #results = new Map<JobName, JobResult>();
  /** Jobs that a job gave, by the names it gave them. */
  readonly #given = new Map<JobName, Readonly<Record<string, SeenNeed>>>();
  /** Of the jobs that somebody sees. */
  readonly #tails = new Map<JobName, Buffer>();

  /** From now on the jobs that these see are watched. */
  watch(jobs: Iterable<PlanJob>): void {
    for (const { sees = [] } of jobs)
      for (const seen of sees)
        for (const name of typeof seen === "string" ? [seen] : Object.values(seen))
          if (!this.#tails.has(name)) this.#tails.set(name, Buffer.alloc(0));
  }

  started(name: JobName): void {
    if (this.#tails.has(name)) this.#tails.set(name, Buffer.alloc(0));
  }

  wrote(name: JobName, stream: "stdout" | "stderr", bytes: Uint8Array): void {
    const tail = stream === "stderr" ? this.#tails.get(name) : undefined;
    if (tail) this.#tails.set(name, lastBytes(tail, bytes, TAIL_BYTES));
  }

  gave(name: JobName, jobs: Readonly<Record<string, SeenNeed>>): void {
    this.#given.set(name, jobs);
  }

  ended(name: JobName, outcome: JobOutcome, how: { exit?: Exit; durationMs: number; output?: unknown }): void {
    const { exit, durationMs, output } = how;
    this.#results.set(name, {
      outcome,
      code: exit?.code ?? null,
      ...(exit ? { exit } : {}),
      durationMs,
      output,
      stderr: this.#tails.get(name)?.toString() ?? "",
    });
  }

  outcomeOf(name: JobName): JobOutcome | undefined {
    return this.#results.get(name)?.outcome;
  }

  /** In the order of the recipe's `needs`. A job that the run leaves out was skipped. */
  of(sees: readonly SeenNeed[] = []): readonly unknown[] {
    return sees.map((seen) => this.#seen(seen));
  }

  #seen(seen: SeenNeed): unknown {
    if (typeof seen !== "string")
      return Object.freeze(Object.fromEntries(Object.entries(seen).map(([cell, name]) => [cell, this.#seen(name)])));
    const result = this.#results.get(seen) ?? SKIPPED;
    const given = this.#given.get(seen);
    if (!given) return result;
    const output = Object.fromEntries(Object.entries(given).map(([name, one]) => [name, this.#seen(one)]));
    return Object.freeze({ ...result, output });
  }
}

const SKIPPED: JobResult = Object.freeze({
  outcome: "skipped",
  code: null,
  durationMs: 0,
  output: undefined,
  stderr: "",
});

// What a job's function is given, and what its condition is. drive.ts makes the first, execute.ts asks the second.
import type { Ask } from "./ask.ts";
import type { Shell } from "./shell-function.ts";

/** What a job's `if` is asked with. */
export interface ConditionContext<out Results extends readonly unknown[] = readonly unknown[]> {
  /** What came of the jobs in `needs`, in their order; of a matrix, by cell. */
  readonly needs: Results;
  /** Of the coordinator. */
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The recipe's, as its schema made them; empty for a recipe without. */
  readonly params: Readonly<Record<string, unknown>>;
}

/** What a job's function gets. */
export interface JobContext<out Results extends readonly unknown[] = readonly unknown[], Also extends string = never>
  extends ConditionContext<Results> {
  /** Starts commands where the job is. */
  readonly $: Shell;
  /**
   * Starts commands at the other places of the job, by their names.
   * @example await also.source`pg_dump app`.pipe($`psql app`);
   */
  readonly also: Readonly<Record<Also, Shell>>;
  /**
   * Writes a line to the job's standard output, of parts as `console.log` takes them. Resolves once it is stored, and need
   * not be awaited: at most 16 MiB may wait.
   */
  readonly log: (...parts: readonly unknown[]) => Promise<void>;
  /**
   * Asks the person who runs the recipe, who types a line.
   * @example const typed = await ask("Type the version to release it");
   */
  readonly ask: Ask;
  /** Aborted when the job is cancelled, its time is up, or its runner was lost: its commands have ended, or are about to. */
  readonly signal: AbortSignal;
  /** The directory where the job's commands run, on its runner, in its container or on its host. */
  readonly workspace: string;
}

/** What drives a job: it runs on the coordinator. */
export type JobFunction<
  Results extends readonly unknown[] = readonly unknown[],
  Also extends string = never,
  Returned = unknown,
> = (context: JobContext<Results, Also>) => Returned | Promise<Returned>;

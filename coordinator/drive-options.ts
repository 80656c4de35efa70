// What an attempt of a job that a function drives is made with.
import type { DispatchOptions } from "./dispatch.ts";
import type { RunnerLink } from "./fleet.ts";
import type { Questions } from "./questions.ts";
import type { ConditionContext } from "./recipe/function-step.ts";

export interface DriveOptions extends DispatchOptions {
  /** The recipe's file. */
  readonly recipe: string;
  readonly context: ConditionContext;
  /** The runners of the job's other places, in the order of `job.also`. */
  readonly also: readonly RunnerLink[];
  /** What its function may ask the person who runs it. */
  readonly questions: Questions;
}

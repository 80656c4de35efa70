// Whether a job is run at all, by its `if`. execute.ts asks when it could start.
import { messageOf } from "../protocol/errors.ts";
import type { PlanJob } from "./plan.ts";
import type { ConditionContext } from "./recipe/function-step.ts";

export interface NotRun {
  readonly outcome: "skipped" | "failed";
  readonly message: string;
}

/** Undefined where the job runs. */
export function whyNotRun({ condition }: PlanJob, context: ConditionContext): NotRun | undefined {
  if (!condition) return undefined;
  try {
    const answer = (condition as (context: ConditionContext) => unknown)(context);
    if (typeof answer !== "boolean")
      throw new TypeError(`it gave ${answer instanceof Promise ? "a promise" : String(answer)}, not true or false`);
    return answer ? undefined : { outcome: "skipped", message: "its `if` says no" };
  } catch (error) {
    return { outcome: "failed", message: `its \`if\` threw ${messageOf(error)}` };
  }
}

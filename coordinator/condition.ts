// Whether a job is run at all, by its `if`. execute.ts asks when it could start; in a sandboxed recipe's own process
// sandbox/child.ts does.
import { messageOf } from "../protocol/errors.ts";
import type { NotRun } from "./elsewhere.ts";
import type { PlanJob } from "./plan.ts";
import type { ConditionContext } from "./recipe/function-step.ts";

/** Undefined where the job runs. A promise where the condition is in another process. */
export function whyNotRun(
  { condition }: Pick<PlanJob, "condition">,
  context: ConditionContext,
): NotRun | undefined | Promise<NotRun | undefined> {
  if (!condition) return undefined;
  if (typeof condition === "object") return condition.whyNot(context);
  try {
    const answer = (condition as (context: ConditionContext) => unknown)(context);
    if (typeof answer !== "boolean")
      throw new TypeError(`it gave ${answer instanceof Promise ? "a promise" : String(answer)}, not true or false`);
    return answer ? undefined : { outcome: "skipped", message: "its `if` says no" };
  } catch (error) {
    return { outcome: "failed", message: `its \`if\` threw ${messageOf(error)}` };
  }
}

// `--on LABEL=VALUE`: what one run asks of the runners of all its jobs, beyond what the recipe says. Pure.
import * as v from "valibot";
import { SortieError } from "../protocol/errors.ts";
import { LabelName, LabelValue, RunnerName } from "../protocol/messages.ts";
import type { Plan } from "./plan.ts";
import { describeRule, type LabelRule, suits } from "./recipe/selector.ts";
import type { Selector } from "./selectors.ts";

/** Labels and their values; `runner` is a runner's name. */
export const AskedOn = v.record(v.string(), v.string());
export type AskedOn = Readonly<v.InferOutput<typeof AskedOn>>;

/** Throws USAGE. */
export function parseOn(texts: readonly string[]): AskedOn {
  const asked = new Map<string, string>();
  for (const text of texts) {
    const at = text.indexOf("=");
    const [label, value] = [text.slice(0, Math.max(0, at)), text.slice(at + 1)];
    const isFine = label === "runner" ? v.is(RunnerName, value) : v.is(LabelName, label) && v.is(LabelValue, value);
    // A runner cannot have such a label: messages drop it in silence.
    if (!isFine || label in Object.prototype)
      throw new SortieError("USAGE", `--on takes LABEL=VALUE, or runner=NAME, not ${JSON.stringify(text)}.`);
    const before = asked.get(label);
    if (before !== undefined && before !== value)
      throw new SortieError("USAGE", `--on asks for ${label}=${before} and for ${label}=${value}: no runner is both.`);
    asked.set(label, value);
  }
  return Object.fromEntries(asked);
}

/** The plan, whose jobs ask for that too. Throws USAGE for a job that asks for something else. */
export function askOn(plan: Plan, on: AskedOn): Plan {
  const asked = Object.entries(on);
  if (asked.length === 0) return plan;
  return {
    ...plan,
    jobs: plan.jobs.map((job) => {
      const wrong = asked.find(([label, value]) => !allows(job.on, label, value));
      if (wrong) {
        const [label, value] = wrong;
        const rule = label === "runner" ? job.on.runner : job.on.labels[label];
        throw new SortieError(
          "USAGE",
          `--on ${label}=${value} cannot be for ${job.name}, which asks for ${describeRule(label, rule as LabelRule)}.`,
          { hint: `Leave it out with --skip ${job.name}, or change the job.`, ...(job.at ? { at: job.at } : {}) },
        );
      }
      const { runner, ...labels } = on;
      return { ...job, on: { ...job.on, labels: { ...job.on.labels, ...labels }, ...(runner ? { runner } : {}) } };
    }),
  };
}

function allows(on: Selector, label: string, value: string): boolean {
  if (label === "runner") return on.runner === undefined || on.runner === value;
  const rule = on.labels[label];
  return rule === undefined || suits(rule, value);
}

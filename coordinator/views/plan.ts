// A plan as text, for --dry-run: each job with what it needs, what it asks for, and what it would run.
import type { Command } from "../../protocol/messages.ts";
import { describeSelector, type Plan } from "../plan.ts";
import { quote } from "../recipe/shell.ts";
import { duration, oneLine } from "./format.ts";

const MOST_CHARACTERS = 100;

export function renderPlan(plan: Plan): string {
  const lines = [`${plan.jobs.length} ${plan.jobs.length === 1 ? "job" : "jobs"}, in the order they may start:`];
  for (const job of plan.jobs) {
    lines.push(`${job.name}${job.needs.length > 0 ? `  needs ${job.needs.join(", ")}` : ""}`);
    lines.push(
      `  on ${describeSelector(job.on)}${job.timeoutMs === undefined ? "" : `, at most ${duration(job.timeoutMs)}`}${job.cwd === undefined ? "" : `, in ${oneLine(job.cwd)}`}`,
    );
    for (const step of job.steps) lines.push(`  $ ${commandText(step)}`);
  }
  return `${lines.join("\n")}\n`;
}

function commandText(command: Command): string {
  const text = oneLine("argv" in command ? command.argv.map(quote).join(" ") : command.shell.trim());
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}

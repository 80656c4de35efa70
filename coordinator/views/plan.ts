// A plan as text, for --dry-run: each job with what it needs, what it asks for, and what it would run.
import type { Command } from "../../protocol/command.ts";
import type { JobName, RunId } from "../../protocol/ids.ts";
import type { SshTarget } from "../../protocol/place.ts";
import { quote } from "../../protocol/quote.ts";
import type { Plan, PlanJob } from "../plan.ts";
import { describeSelector } from "../selectors.ts";
import { duration, harmless, oneLine } from "./format.ts";

const MOST_CHARACTERS = 100;

/** `kept`: jobs that are not run, and the run in which each of them passed. */
export function renderPlan(plan: Plan, kept: ReadonlyMap<JobName, RunId> = new Map()): string {
  const lines = [`${plan.jobs.length} ${plan.jobs.length === 1 ? "job" : "jobs"}, in the order they may start:`];
  for (const job of plan.jobs) {
    lines.push(`${job.name}${job.needs.length > 0 ? `  needs ${job.needs.join(", ")}` : ""}`);
    const by = kept.get(job.name);
    if (by !== undefined) {
      lines.push(`  kept: passed in the run ${by}`);
      continue;
    }
    lines.push(
      `  on ${describeSelector(job.on)}${job.timeoutMs === undefined ? "" : `, at most ${duration(job.timeoutMs)}`}${job.cwd === undefined ? "" : `, in ${oneLine(job.cwd)}`}`,
    );
    const how = [
      job.always && "runs always, once what it needs is over",
      job.allowFailure && "may fail",
      job.priority !== undefined && `priority ${job.priority}`,
      job.queueMs !== undefined && `waits ${duration(job.queueMs)} at most`,
      job.group && `at most ${job.group.limit} of the group ${job.group.name} at once`,
      job.condition && "may be skipped by its `if`",
      job.retry && `is tried again up to ${job.retry.count} times`,
    ].filter(Boolean);
    if (how.length > 0) lines.push(`  ${how.join(", ")}`);
    const more = [
      job.stdin !== undefined && `reads ${stdinText(job.stdin)}`,
      job.secrets && `gets the secrets ${[...new Set(job.secrets.map(({ from }) => from))].join(", ")}`,
      job.outputs && `makes ${Object.keys(job.outputs).join(", ")}`,
    ].filter(Boolean);
    if (more.length > 0) lines.push(`  ${more.join(", ")}`);
    const place = placeText(job);
    if (place !== undefined) lines.push(`  ${place}`);
    for (const { name, on } of job.also ?? []) lines.push(`  also ${name}: on ${describeSelector(on)}`);
    if (job.drive) lines.push("  a function drives it");
    for (const step of job.steps) lines.push(`  $ ${commandText(step)}`);
  }
  return `${lines.map((line) => harmless(line.replaceAll("\n", " "), false)).join("\n")}\n`;
}

function stdinText(stdin: NonNullable<PlanJob["stdin"]>): string {
  if (typeof stdin === "string") return "a text of the recipe";
  return "file" in stdin ? oneLine(stdin.file) : `the secret ${stdin.secret}`;
}

/** Where its commands run, if not as processes of the runner, and as whom. */
function placeText({ container, ssh, user }: PlanJob): string | undefined {
  const services = (container?.services ?? []).map(({ name, image }) => `${name} (${image})`);
  const parts = [
    container && `in the container ${container.image}`,
    ssh && `over ssh to ${targetText(ssh)}`,
    user && `as ${user}`,
    services.length > 0 && `beside ${services.join(", ")}`,
  ].filter(Boolean);
  return parts.length === 0 ? undefined : parts.join(", ");
}

function targetText({ host, user, port }: SshTarget): string {
  const place = port === undefined ? host : `${host.includes(":") ? `[${host}]` : host}:${port}`;
  return user === undefined ? place : `${user}@${place}`;
}

function commandText(command: Command): string {
  const text = oneLine("argv" in command ? command.argv.map(quote).join(" ") : command.shell.trim());
  return text.length > MOST_CHARACTERS ? `${text.slice(0, MOST_CHARACTERS)}…` : text;
}

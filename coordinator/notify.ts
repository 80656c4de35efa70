// Tells whoever a recipe's `notify` names how its jobs and the run came out: a reader of the run's events, which run.ts asks to
// finish before the run's own end is told. What cannot be delivered is a warning.
import { dirname } from "node:path";
import PQueue from "p-queue";
import type { JobName, RunId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { deliverByCommand, deliverTo } from "./deliver.ts";
import type { JobOutcome, RunEvent, RunOutcome } from "./events.ts";
import type { JobCameOut, Notice } from "./notice.ts";
import type { PlanJob } from "./plan.ts";
import { describeNotify, isWebAddress, type Notify } from "./recipe/notify.ts";
import { isSecret } from "./recipe/secret.ts";
import type { Secrets } from "./secrets.ts";

export interface NotificationOptions {
  readonly run: RunId;
  readonly recipe: string;
  /** The run's own. */
  readonly notify: readonly Notify[];
  /** Of an earlier coordinator process, of jobs that are over. */
  readonly known: readonly JobCameOut[];
  readonly secrets: Pick<Secrets, "value">;
  readonly emit: (event: RunEvent) => void | Promise<void>;
}

export interface Notifications {
  /** Jobs of the run, with what each wants told; once. */
  add(jobs: readonly PlanJob[]): void;
  on(event: RunEvent): void;
  /** Tells how the run came out; resolves once everything is told, or could not be. */
  finish(outcome: RunOutcome, durationMs: number): Promise<void>;
}

export function notifications({ run, recipe, notify, known, secrets, emit }: NotificationOptions): Notifications {
  const wanted = new Map<JobName, readonly Notify[]>();
  const counts = new Map<JobOutcome, number>();
  const notPassed: JobCameOut[] = [];
  const queue = new PQueue({ concurrency: limits.notifiesAtOnce });
  for (const one of known) count(one);

  function count(one: JobCameOut): void {
    counts.set(one.outcome, (counts.get(one.outcome) ?? 0) + 1);
    if (one.outcome !== "passed" && notPassed.length < limits.notifiedJobs) notPassed.push(one);
  }

  function tell(to: readonly Notify[], notice: Notice): void {
    for (const one of to) if (one.on.includes(notice.outcome)) void queue.add(() => deliver(one, notice));
  }

  async function deliver(to: Notify, notice: Notice): Promise<void> {
    const problem =
      "command" in to
        ? await deliverByCommand(to.command, notice, dirname(recipe))
        : await post(to.url, notice, secrets);
    if (problem === undefined) return;
    const of = notice.type === "job" ? `${notice.job} ${notice.outcome}` : `the run ${notice.outcome}`;
    const message = `${describeNotify(to)} could not be told that ${of}: ${problem}`;
    await emit({ type: "warning", at: Date.now(), message });
  }

  return {
    add(jobs) {
      for (const { name, notify: own } of jobs) if (own) wanted.set(name, own);
    },
    on(event) {
      if (event.type !== "job-ended") return;
      const { at: endedAt, job, outcome, allowed, exit, message, durationMs } = event;
      const one: JobCameOut = {
        job,
        outcome,
        ...(allowed ? { allowed } : {}),
        ...(exit ? { exit } : {}),
        ...(message === undefined ? {} : { message }),
      };
      count(one);
      if (!event.kept) tell(wanted.get(job) ?? [], { type: "job", run, recipe, endedAt, durationMs, ...one });
    },
    async finish(outcome, durationMs) {
      const told = { counts: Object.fromEntries(counts), notPassed };
      tell(notify, { type: "run", run, recipe, endedAt: Date.now(), durationMs, outcome, ...told });
      await queue.onIdle();
    },
  };
}

function post(
  url: Extract<Notify, { url: unknown }>["url"],
  notice: Notice,
  secrets: Pick<Secrets, "value">,
): Promise<string | undefined> {
  const address = isSecret(url) ? secrets.value(url.source) : url;
  return isWebAddress(address) ? deliverTo(address, notice) : Promise.resolve("it is no https:// or http:// address");
}

// What is told of a run: to the record, to the view and the reports, to those who are notified; and who may cancel it. run.ts
// opens it for a run, and execute.ts tells it what happens.
import { type JobName, newRunId, type RunId } from "../protocol/ids.ts";
import { listenForCancels } from "./cancels.ts";
import { endPlaces } from "./end-places.ts";
import type { RunEvent, RunOutcome } from "./events.ts";
import type { Fleet, KnownRunner } from "./fleet.ts";
import { notifications } from "./notify.ts";
import type { PlanJob } from "./plan.ts";
import type { Prepared } from "./prepare.ts";
import { redactedEvents } from "./redact-events.ts";
import { linkOf } from "./resume.ts";
import { keptEvent, resumedEvent, startedEvent } from "./run-events.ts";
import type { RunOptions } from "./run-options.ts";
import type { Secrets } from "./secrets.ts";
import { openStore, type Store } from "./store/store.ts";
import { chooseView, combine } from "./views/index.ts";

interface Reached {
  readonly runners: readonly KnownRunner[];
  readonly unreachable: readonly { readonly name: string; readonly message: string }[];
}

export interface RunRecord {
  readonly run: RunId;
  readonly claims: Store["claims"];
  /** Aborted by Ctrl-C, and by `coordinator cancel`. */
  readonly cancelled: AbortSignal;
  cancelsJobs(cancelJob: (name: JobName) => void): void;
  emit(event: RunEvent): void | Promise<void>;
  /** Jobs that joined the run. */
  add(jobs: readonly PlanJob[]): void;
  /** What was reached of the runners, and what the run begins with. */
  begin(fleet: Fleet, reached: Reached): Promise<void>;
  end(outcome: RunOutcome): Promise<void>;
  close(): Promise<void>;
}

/** `secrets` are kept out of what is told; they may grow. */
export async function openRecord(
  options: RunOptions,
  prepared: Prepared,
  secrets: Secrets,
  folder: string,
): Promise<RunRecord> {
  const { resumed } = options;
  const { plan, kept } = prepared;
  const store = openStore(folder);
  const readers = combine([
    store.reader(resumed?.begun.map(({ job, id }) => [job, id])),
    await chooseView(options.format, process.stdout, folder, secrets),
    ...(options.reports ?? []),
  ]);
  const run = resumed?.run ?? newRunId();
  const startedAt = resumed?.startedAt ?? Date.now();
  const known = [...(resumed?.over ?? [])].map(([job, outcome]) => ({ job, outcome }));
  const { notify } = prepared.loaded;
  const told = notifications({ run, recipe: plan.recipe, notify, known, secrets, emit });
  told.add(plan.jobs);
  const { signal: cancelled, stop, cancelsJobs } = listenForCancels(store, run, options.cancelled);
  let given: Promise<void> | undefined;

  const redacted = redactedEvents(secrets);

  function emit(event: RunEvent): void | Promise<void> {
    const waits = redacted(event).flatMap((one) => {
      told.on(one);
      return readers.on(one) ?? [];
    });
    return waits.length > 1 ? Promise.all(waits).then(() => {}) : waits[0];
  }

  return {
    run,
    claims: store.claims,
    cancelled,
    cancelsJobs,
    emit,
    add: (jobs) => told.add(jobs),
    async begin(fleet, { runners, unreachable }) {
      given = endPlaces(store, resumed ? store.places(run) : [], (place) => linkOf(fleet, runners, place));
      await emit(resumed ? resumedEvent(run, prepared) : startedEvent(run, startedAt, prepared));
      options.onStarted?.(run);
      for (const [job, by] of kept) await emit(keptEvent(job, by, startedAt, prepared.results.get(job)));
      for (const runner of runners)
        await emit({ type: "runner-connected", at: Date.now(), runner: runner.name, slots: runner.info.slots });
      for (const { name, message } of unreachable)
        await emit({ type: "runner-unreachable", at: Date.now(), runner: name, message });
      const message = "cancelling: waiting for the jobs to end (Ctrl-C again leaves at once)";
      const tellCancelling = (): void => void emit({ type: "run-cancelling", at: Date.now(), message });
      cancelled.addEventListener("abort", tellCancelling, { once: true });
      // Whoever pressed Ctrl-C while the run began is told so as well.
      if (cancelled.aborted) tellCancelling();
    },
    async end(outcome) {
      const durationMs = Date.now() - startedAt;
      await told.finish(outcome, durationMs);
      await emit({ type: "run-ended", at: Date.now(), run, outcome, durationMs });
    },
    async close() {
      await given;
      stop();
      await readers.close();
      store.close();
    },
  };
}

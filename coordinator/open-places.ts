// Opens the places of a job that a function drives: the one that every job has, and those of `also`. drive.ts calls it.
import { asSortieError } from "../protocol/errors.ts";
import { type AttemptId, newAttemptId } from "../protocol/ids.ts";
import { reconnectMsOf } from "./attempt.ts";
import { connectionEvent } from "./attempt-events.ts";
import type { Dispatched } from "./dispatch.ts";
import type { DriveOptions } from "./drive-options.ts";
import { type DrivenPlace, openPlace } from "./driven-place.ts";
import type { RunnerLink } from "./fleet.ts";
import type { JobLog } from "./job-log.ts";
import type { PlanJob, PlanPlace } from "./plan.ts";
import { requestOf } from "./request.ts";

export type NotTaken = Dispatched & { readonly kind: "not-taken" };

/**
 * All places, or why one of them was not taken; then none is held. Whoever is to end them meanwhile finds in `opened` those
 * that are held so far. Nothing is told of them before all are.
 */
export async function openPlaces(
  options: DriveOptions,
  attemptId: AttemptId,
  log: JobLog,
  opened: DrivenPlace[],
): Promise<NotTaken | undefined> {
  const { job, runner, emit, attempt } = options;
  const own = requestOf(options, job, attemptId);
  const places = [
    { link: runner, request: own, name: undefined },
    ...(job.also ?? []).map((place, index) => ({
      link: options.also[index] as RunnerLink,
      request: requestOf(options, placeAsJob(job, place), newAttemptId()),
      name: place.name,
    })),
  ];
  for (const { link, request, name } of places)
    if (name !== undefined)
      await emit({
        type: "place-dispatched",
        at: Date.now(),
        job: job.name,
        place: name,
        attemptId: request.attemptId,
        runner: link.name,
        runnerId: link.id,
      });
  const all = Promise.withResolvers<boolean>();
  const opening = places.map(async ({ link, request, name }, index) => {
    opened[index] = await openPlace({
      link,
      request: { ...request, steps: [], driven: true },
      reconnectMs: reconnectMsOf(job.leaseMs),
      async control(message) {
        if (!(await all.promise)) return;
        if (message.type === "started" && name === undefined) {
          await log.control(message);
          await emit({ type: "job-started", at: message.at, job: job.name, attempt, attemptId, runner: runner.name });
        }
        if (message.type === "note") {
          await log.control(message);
          await emit({ type: "job-note", at: message.at, job: job.name, from: message.from, text: message.text });
        }
      },
      async output(stream, bytes, at, shown) {
        await log.output(stream, bytes, at);
        if (shown) await emit({ type: "job-output", at, job: job.name, stream, bytes });
      },
      connection: (lost) => void emit(connectionEvent(job.name, link.name, lost)),
    });
  });
  const settled = await Promise.allSettled(opening);
  const failed = settled.findIndex((one) => one.status === "rejected");
  all.resolve(failed < 0);
  if (failed < 0) return undefined;
  const held = opened.filter(Boolean);
  for (const place of held) place.attempt.cancel("run");
  await Promise.all(held.map((place) => place.over.catch(() => {})));
  const { reason } = settled[failed] as PromiseRejectedResult;
  return { kind: "not-taken", error: asSortieError(reason), runnerId: (places[failed]?.link ?? runner).id };
}

/** A place is asked for as the job is, but for what it says itself. */
function placeAsJob(job: PlanJob, { name: _, ...place }: PlanPlace): PlanJob {
  const { container, ssh, user, limits: resources, nice, umask, cwd, timeoutMs, secrets, ...rest } = job;
  return { ...rest, ...place };
}

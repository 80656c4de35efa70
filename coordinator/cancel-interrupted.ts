// Ends what is left of a run whose coordinator is gone: its jobs on their runners, and its record.
import { asSortieError } from "../protocol/errors.ts";
import type { JobName } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { startAttempt } from "./attempt.ts";
import { endDriven } from "./drive.ts";
import { endPlaces } from "./end-places.ts";
import { type Fleet, openFleet } from "./fleet.ts";
import { linkOf } from "./resume.ts";
import { createLog, reopenLog } from "./store/log.ts";
import { type AttemptRow, openAttempt, type RunRow } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

/** A runner that does not answer within this is left to its lease. */
const LOOK_FOR_MS = 10_000;

/** Cancels one job, or all and with them the run. What a job wrote up to its end comes into its log. */
export async function cancelInterrupted(
  store: Store,
  folder: string,
  { id: run, startedAt }: RunRow,
  only: JobName | undefined,
): Promise<void> {
  const fleet = openFleet(folder);
  const jobs = store.jobs(run).filter(({ name, outcome }) => outcome === null && (only === undefined || only === name));
  const open = jobs.flatMap((job) => openAttempt(job) ?? []);
  const record = store.reader(open.map((attempt) => [attempt.job, attempt.id]));
  const places = store.places(run).filter(({ job }) => only === undefined || only === job);
  try {
    await record.on({ type: "run-resumed", at: Date.now(), run, recipe: "", jobs: [] });
    const ended = endPlaces(store, places, (place) => linkOf(fleet, [], place));
    await Promise.all(
      jobs.map(async ({ name }) => {
        const attempt = open.find((one) => one.job === name);
        const how = attempt ? await cancelAttempt(store, fleet, attempt) : { message: "it had not started" };
        const durationMs = attempt ? Date.now() - attempt.startedAt : 0;
        await record.on({ type: "job-ended", at: Date.now(), job: name, outcome: "cancelled", ...how, durationMs });
      }),
    );
    await ended;
    if (only === undefined)
      await record.on({
        type: "run-ended",
        at: Date.now(),
        run,
        outcome: "cancelled",
        durationMs: Date.now() - startedAt,
      });
  } finally {
    await record.close();
    await fleet.close();
  }
}

const notTold = (error: unknown): { message: string } => ({
  message: `not told to its runner, whose lease ends it: ${asSortieError(error).message}`,
});

async function cancelAttempt(store: Store, fleet: Fleet, { run, id, runnerId, driven }: AttemptRow) {
  const pin = fleet.trust.current(runnerId ?? "");
  if (!pin) return { message: "its runner is gone" };
  if (driven) {
    const message = "its function ended with the coordinator that ran it";
    return endDriven(fleet.link(pin), id).then(
      () => ({ message }),
      (error: unknown) => notTold(error),
    );
  }
  const path = store.logPath({ run, id });
  const stored = reopenLog(path);
  const log = createLog(path);
  try {
    const attempt = await startAttempt({
      link: fleet.link(pin),
      attemptId: id,
      ...(stored ? { stored } : {}),
      reconnectMs: Math.min(LOOK_FOR_MS, limits.leaseMs),
      sink: { store: (bytes) => log.write(bytes), output() {} },
    });
    attempt.cancel("user");
    return await attempt.end;
  } catch (error) {
    return notTold(error);
  } finally {
    log.close();
  }
}

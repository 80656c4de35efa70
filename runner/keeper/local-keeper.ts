// The keeper in this process: every job it started, by attempt id.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";
import type { AttemptId } from "../../protocol/ids.ts";
import { localBackend } from "./backends/local.ts";
import { type Job, startJob } from "./job.ts";
import type { Keeper } from "./keeper.ts";
import { killMarked, killMarkedNow } from "./process-tree.ts";
import { environmentOf, makeWorkFolder, removeWorkFolder } from "./work.ts";

/** Attempt ids that were used, the oldest forgotten first: an attempt runs once. */
const REMEMBERED = 100_000;

/**
 * Opens the keeper on its folder. What a keeper that crashed left there is ended and removed first: a work folder
 * is named by its attempt, and so are the processes. Nothing else may use the folder meanwhile.
 */
export async function openKeeper(folder: string): Promise<Keeper> {
  const work = privateFolder(join(folder, "work"));
  await clearLeftovers(work);
  const backend = localBackend(join(folder, "pipes"));
  const jobs = new Map<AttemptId, { job: Job; ownFolder: string }>();
  const used = new Set<AttemptId>();
  const forgetting = new Map<AttemptId, Promise<void>>();

  async function forget(attemptId: AttemptId): Promise<void> {
    const entry = jobs.get(attemptId);
    if (!entry) return;
    entry.job.cancel({ reason: "cancelled", by: "peer" });
    // Nobody reads any more, so nothing may wait for room.
    const discard = (async () => {
      while (entry.job.running) {
        entry.job.journal.acknowledge(entry.job.journal.end);
        if ((await entry.job.journal.read(entry.job.journal.end, 1, () => false)) === undefined) return;
      }
    })();
    await entry.job.over;
    await discard;
    jobs.delete(attemptId);
    await backend.sweep(attemptId);
    // A directory that cannot be removed now is removed at the next start.
    await removeWorkFolder(entry.ownFolder).catch(() => {});
  }

  function forgetOnce(attemptId: AttemptId): Promise<void> {
    const under = forgetting.get(attemptId) ?? forget(attemptId).finally(() => forgetting.delete(attemptId));
    forgetting.set(attemptId, under);
    return under;
  }

  return {
    async start(request) {
      if (used.has(request.attemptId))
        throw new SortieError("DUPLICATE", `The attempt ${request.attemptId} was started before.`);
      used.add(request.attemptId);
      if (used.size > REMEMBERED) used.delete(used.values().next().value as AttemptId);
      // Made also for a job that names its directory: it is the record by which a later keeper finds its processes.
      const ownFolder = join(work, request.attemptId);
      let place: Parameters<typeof startJob>[2];
      try {
        makeWorkFolder(work, request.attemptId);
        place = { cwd: request.cwd ?? ownFolder, env: environmentOf(request) };
      } catch (error) {
        place = {
          failure: `its working directory could not be made: ${error instanceof Error ? error.message : String(error)}`,
        };
      }
      jobs.set(request.attemptId, { job: startJob(request, backend, place), ownFolder });
    },
    read(attemptId, offset) {
      const { journal } = known(attemptId);
      let at = offset;
      let stopped = false;
      return {
        async read(most) {
          const pieces = await journal.read(at, most, () => stopped);
          for (const piece of pieces ?? []) at += piece.length;
          return pieces;
        },
        close() {
          stopped = true;
          journal.nudge();
        },
      };
    },
    acknowledge: (attemptId, offset) => jobs.get(attemptId)?.job.journal.acknowledge(offset),
    writeStdin: (attemptId, bytes) => known(attemptId).writeStdin(bytes),
    endStdin: (attemptId) => known(attemptId).endStdin(),
    signal: (attemptId, name) => jobs.get(attemptId)?.job.signal(name),
    cancel: (attemptId, cause) => jobs.get(attemptId)?.job.cancel(cause),
    forget: forgetOnce,
    isRunning: (attemptId) => jobs.get(attemptId)?.job.running ?? false,
    async cancelAll() {
      for (const { job } of jobs.values()) job.cancel({ reason: "cancelled", by: "runner" });
      await Promise.all([...jobs.values()].map(({ job }) => job.over));
    },
    async close() {
      await Promise.all([...jobs.keys()].map(forgetOnce));
      await backend.close();
    },
    kill() {
      // Groups first: a process that cleared its environment is found by nothing else.
      for (const { job } of jobs.values()) job.kill();
      killMarkedNow(new Set(jobs.keys()));
    },
  };

  function known(attemptId: AttemptId): Job {
    const entry = jobs.get(attemptId);
    if (!entry) throw new SortieError("NOT_FOUND", `There is no attempt ${attemptId} here.`);
    return entry.job;
  }
}

async function clearLeftovers(work: string): Promise<void> {
  const attempts = new Set(readdirSync(work));
  if (attempts.size === 0) return;
  await killMarked(attempts);
  await Promise.all([...attempts].map((attempt) => removeWorkFolder(join(work, attempt)).catch(() => {})));
}

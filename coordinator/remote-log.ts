// A job's journal, straight from its runner, as a file here: read it as a log while it comes. For `coordinator logs
// --from`, which shows the jobs of this coordinator's other machines, and what a lost state folder held.
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { SortieError } from "../protocol/errors.ts";
import type { Exit } from "../protocol/exit.ts";
import { privateFolder } from "../protocol/home.ts";
import { newId } from "../protocol/ids.ts";
import { limits } from "../protocol/limits.ts";
import { callJson } from "../protocol/make-call.ts";
import type { JobState } from "../protocol/messages.ts";
import { answerWithin } from "./answer-within.ts";
import { startAttempt } from "./attempt.ts";
import type { RunnerLink } from "./fleet.ts";
import { createLog } from "./store/log.ts";

/** Ctrl-C ends a reader, and leaves its file. Those that nothing is written to for so long go; whoever still reads one has it open. */
const LEFT_MS = 24 * 60 * 60_000;

export async function listJobs(runner: RunnerLink): Promise<readonly JobState[]> {
  const channel = await runner.open();
  return (await answerWithin(channel, limits.answerMs, callJson(channel, "/job/list", {}))).jobs;
}

/** By a prefix of an attempt's id, RUN/JOB with a prefix of the run's id, or a job's name; the latest attempt of several. */
export function findJob(jobs: readonly JobState[], text: string, runner: string): JobState {
  const [run, job] = text.includes("/") ? text.split("/", 2) : [undefined, text];
  const byId = run === undefined ? jobs.filter(({ attemptId }) => attemptId.startsWith(text)) : [];
  if (byId.length > 1)
    throw new SortieError("AMBIGUOUS", `${text} fits ${byId.map(({ attemptId }) => attemptId).join(", ")}.`);
  const found =
    byId[0] ?? jobs.find((one) => one.job === job && (run === undefined || run === "last" || one.run.startsWith(run)));
  if (found) return found;
  throw new SortieError("NOT_FOUND", `${runner} has no job ${JSON.stringify(text)} of this coordinator.`, {
    hint: `\`coordinator logs --from ${runner}\` lists those it has.`,
  });
}

export interface RemoteLog {
  readonly path: string;
  /** Whether more may come. */
  readonly isLive: () => boolean;
  /** Resolves once what the runner had at the beginning is here. */
  readonly caughtUp: Promise<void>;
  /** Resolves with how it ended: with an exit, or not followed to one. Rejects where the runner was lost. */
  readonly end: Promise<{ readonly exit?: Exit; readonly gap?: string }>;
  /** Ends the reading, and removes the file. */
  close(): Promise<void>;
}

/** Reads to the exit, or, unless it follows, to where the journal ends now. */
export async function openRemoteLog(
  runner: RunnerLink,
  { attemptId, end: endsAt, running }: JobState,
  options: { readonly folder: string; readonly follow: boolean; readonly onConnection: (lost?: string) => void },
): Promise<RemoteLog> {
  const remote = privateFolder(join(options.folder, "remote"));
  removeLeft(remote);
  // Of this reader alone: in a container the next process may have the same number.
  const path = join(remote, `${newId()}.${attemptId}.chunks`);
  const log = createLog(path);
  const enough = new SortieError("CONNECTION_LOST", "Enough was read.");
  /** Where in the journal what is here ends. */
  let stored = 0;
  let isLive = true;
  const caughtUp = Promise.withResolvers<void>();
  const leaveWithEnough = (): void => {
    if (!options.follow && running && stored >= endsAt) attempt.abandon(enough);
  };
  const attempt = await startAttempt({
    link: runner,
    attemptId,
    readOnly: true,
    reconnectMs: limits.leaseMs,
    sink: {
      async store(bytes, end) {
        await log.write(bytes);
        stored = end;
        if (stored >= endsAt) caughtUp.resolve();
      },
      output: leaveWithEnough,
      control: leaveWithEnough,
      connection: options.onConnection,
    },
  });
  const end = attempt.end
    .catch((error: unknown) => {
      if (error === enough) return {};
      throw error;
    })
    .finally(() => {
      isLive = false;
      caughtUp.resolve();
      log.close();
    });
  end.catch(() => {});
  return {
    path,
    isLive: () => isLive,
    caughtUp: caughtUp.promise,
    end,
    async close() {
      attempt.abandon(enough);
      await end.catch(() => {});
      rmSync(path, { force: true });
    },
  };
}

function removeLeft(folder: string): void {
  for (const name of readdirSync(folder)) {
    const path = join(folder, name);
    const stats = statSync(path, { throwIfNoEntry: false });
    if (stats && Date.now() - stats.mtimeMs > LEFT_MS) rmSync(path, { force: true });
  }
}

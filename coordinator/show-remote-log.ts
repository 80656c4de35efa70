// `coordinator logs --from RUNNER [JOB]`: what the runner itself has, whatever this coordinator has stored of it.
import { exitCodes } from "../protocol/errors.ts";
import { describeExit, passed } from "../protocol/exit.ts";
import type { JobState } from "../protocol/messages.ts";
import { findRunner, openFleet } from "./fleet.ts";
import { printParts, type Show } from "./print-log.ts";
import { findJob, listJobs, openRemoteLog } from "./remote-log.ts";
import { readLog } from "./store/read-log.ts";
import { table, writeTo } from "./views/format.ts";
import { logPrinter } from "./views/log-printer.ts";

export async function showRemoteLog(
  runnerText: string,
  job: string | undefined,
  folder: string,
  show: Show,
): Promise<number> {
  const fleet = openFleet(folder);
  try {
    const runner = await findRunner(fleet, runnerText);
    const jobs = await listJobs(runner);
    if (job === undefined) {
      await writeTo(process.stdout, `${table([["JOB", "ATTEMPT", "STARTED", "STATE", "BYTES"], ...jobs.map(row)])}\n`);
      return exitCodes.passed;
    }
    const state = findJob(jobs, job, runner.name);
    const printer = logPrinter(show);
    const remote = await openRemoteLog(runner, state, {
      folder,
      follow: show.follow,
      onConnection: (lost) =>
        void printer.note(lost === undefined ? `${runner.name} is there again` : `${lost}; looking for ${runner.name}`),
    });
    try {
      const { path, isLive } = remote;
      // Its last lines are known once it is here; else it is shown while it comes.
      if (show.most !== undefined) await remote.caughtUp;
      if (await printParts(path, readLog(path, { follow: true, isLive }), printer, show)) return exitCodes.passed;
      const { exit, gap } = await remote.end;
      if (gap !== undefined) await printer.note(`this log is incomplete: ${gap}`);
      else if (exit && !passed(exit)) await printer.note(`${state.job} ended with ${describeExit(exit)}`);
      return gap === undefined ? exitCodes.passed : exitCodes.failed;
    } finally {
      await remote.close();
    }
  } finally {
    await fleet.close();
  }
}

function row({ run, job, attemptId, startedAt, running, attached, end, acknowledged }: JobState): string[] {
  const state = running ? (attached ? "running" : "running, its coordinator is away") : "ended";
  return [
    `${run}/${job}`,
    attemptId,
    new Date(startedAt).toISOString(),
    acknowledged || running ? state : `${state}, not fetched`,
    String(end),
  ];
}

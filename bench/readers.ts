// So many read-only readers of the job that w1 runs now, in one process; the first one reads and never acknowledges.
// Started by many-readers.ts; prints a line once all of them are there.
import { startAttempt } from "../coordinator/attempt.ts";
import { findRunner, openFleet } from "../coordinator/fleet.ts";
import { listJobs } from "../coordinator/remote-log.ts";
import type { JobState } from "../protocol/messages.ts";

const count = Number(process.argv[2]);
const runner = await findRunner(openFleet(), "w1");
let job: JobState | undefined;
while (!job) job = (await listJobs(runner)).find(({ running }) => running);
const { attemptId } = job;
let there = 0;
const everybody = Promise.withResolvers<void>();
for (let index = 0; index < count; index++) {
  const stalled = index === 0;
  const attempt = await startAttempt({
    link: runner,
    attemptId,
    readOnly: true,
    reconnectMs: 1_000,
    sink: {
      store: () => {
        if (++there === count) everybody.resolve();
        return stalled ? new Promise(() => {}) : undefined;
      },
      output() {},
    },
  });
  attempt.end.catch(() => {});
}
if (count > 0) await everybody.promise;
console.log("there");

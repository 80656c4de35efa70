/** Soak: runs a command again and again, tells how long it took, and ends with the output of the first that fails. */
import { job, recipe } from "sortie";
import * as v from "valibot";

const params = v.object({
  command: v.optional(v.pipe(v.string(), v.description("a shell command; $ROUND counts from 1")), "sleep 0.05"),
  rounds: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.description("at most")), 20),
  seconds: v.optional(v.pipe(v.number(), v.description("no round begins after so many; default: no end"))),
});

export default recipe({
  params,
  jobs: ({ command, rounds, seconds = Number.POSITIVE_INFINITY }) => ({
    soak: job({
      async run({ $, log }) {
        const times: number[] = [];
        const until = Date.now() + seconds * 1_000;
        for (let round = 1; round <= rounds && Date.now() < until; round++) {
          // Of all the rounds only the output of the one that fails is wanted.
          const { code, durationMs } = await $`sh -c ${command} > output 2>&1`
            .env({ ROUND: String(round) })
            .quiet()
            .nothrow();
          if (code !== 0) {
            log(summary(times));
            await $`cat output`;
            throw new Error(`round ${round} failed: ${code === null ? "ended by a signal" : `exit ${code}`}`);
          }
          times.push(durationMs);
        }
        log(summary(times));
        return statistics(times);
      },
    }),
  }),
});

function statistics(times: readonly number[]) {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number): number => sorted[Math.ceil(part * sorted.length) - 1] ?? 0;
  const mean = Math.round(times.reduce((sum, ms) => sum + ms, 0) / Math.max(1, times.length));
  return { rounds: times.length, mean, min: sorted[0] ?? 0, median: at(0.5), p95: at(0.95), max: sorted.at(-1) ?? 0 };
}

function summary(times: readonly number[]): string {
  const { rounds, mean, min, median, p95, max } = statistics(times);
  return `${rounds} rounds passed; ms: mean ${mean}, min ${min}, median ${median}, p95 ${p95}, max ${max}`;
}

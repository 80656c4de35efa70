// A run's times as text: a bar for each job, and the critical path. Pure; timings.ts collects them, and timings-report.ts prints.
import { limits } from "../../protocol/limits.ts";
import { duration, outcomeColour, outcomeMark, type Paint } from "./format.ts";
import type { Phase, TimedJob, Timings } from "./timings.ts";

const WIDEST_NAME = 24;
const NARROWEST_BAR = 10;
const cells = { needs: "·", slot: "░", starting: "▒", running: "█" } as const satisfies Record<Phase, string>;
const words = {
  needs: "waiting for what it needs",
  slot: "waiting for a slot",
  starting: "starting",
  running: "running",
} as const satisfies Record<Phase, string>;
const order = ["needs", "slot", "starting", "running"] as const;

/** The jobs that the run's time is made of, the first one first: each ended last of what the next one needs. */
export function criticalPath({ jobs }: Timings): TimedJob[] {
  const byName = new Map(jobs.map((job) => [job.name, job]));
  const later = (one: TimedJob | undefined, other: TimedJob | undefined): TimedJob | undefined =>
    other && (!one || other.endedAt > one.endedAt) ? other : one;
  const path: TimedJob[] = [];
  // A job that was skipped took no time of its own.
  let job = jobs.filter(({ outcome }) => outcome !== "skipped").reduce<TimedJob | undefined>(later, undefined);
  while (job) {
    path.unshift(job);
    job = job.needs.map((need) => byName.get(need)).reduce<TimedJob | undefined>(later, undefined);
  }
  return path;
}

/** Milliseconds of each phase. */
export function spent({ phases, endedAt }: TimedJob): Record<Phase, number> {
  const sums = { needs: 0, slot: 0, starting: 0, running: 0 };
  for (const [index, { phase, at }] of phases.entries()) sums[phase] += (phases[index + 1]?.at ?? endedAt) - at;
  return sums;
}

/** Lines of at most `width` characters, as long as that leaves room for a bar at all. */
export function renderTimings(timings: Timings, width: number, paint: Paint): string {
  const path = criticalPath(timings);
  const shown = mostTelling(timings.jobs, path);
  const nameWidth = Math.min(WIDEST_NAME, Math.max(3, ...shown.map(({ name }) => name.length)));
  const times = shown.map((job) => duration(spent(job).running));
  const timeWidth = Math.max(0, ...times.map((time) => time.length));
  const barWidth = Math.max(NARROWEST_BAR, width - nameWidth - timeWidth - 6);
  const onPath = new Set(path);
  const rows = shown.map((job, index) => {
    const name = job.name.length > nameWidth ? `${job.name.slice(0, nameWidth - 1)}…` : job.name.padEnd(nameWidth);
    const mark = paint(outcomeColour[job.outcome], outcomeMark[job.outcome]);
    const star = onPath.has(job) ? "*" : " ";
    return `${star} ${mark} ${name} ${barOf(job, timings, barWidth, paint)} ${times[index]?.padStart(timeWidth)}`;
  });
  const left = timings.jobs.length - shown.length;
  return [
    `timings: ${duration(timings.endedAt - timings.startedAt)}`,
    ...rows,
    ...(left > 0 ? [`  and ${left} more`] : []),
    ...order.map((phase) => `  ${cells[phase]} ${words[phase]}`),
    ...pathLines(path, width),
  ].join("\n");
}

function pathLines(path: readonly TimedJob[], width: number): string[] {
  if (path.length === 0) return [];
  const sums = { needs: 0, slot: 0, starting: 0, running: 0 };
  for (const job of path) for (const [phase, time] of Object.entries(spent(job))) sums[phase as Phase] += time;
  const names = path.map(({ name }) => name).join(" → ");
  const cut = names.length > width - 4 ? `${names.slice(0, Math.max(1, width - 5))}…` : names;
  // What its first waited for, the path itself is.
  const parts = (["slot", "starting", "running"] as const).map((phase) => `${cells[phase]} ${duration(sums[phase])}`);
  return ["* the critical path:", `  ${cut}`, `  ${parts.join(", ")}`];
}

/** The critical path, and the longest of the others, in the order they came to run. */
function mostTelling(jobs: readonly TimedJob[], path: readonly TimedJob[]): TimedJob[] {
  const onPath = new Set(path);
  const others = jobs.filter((job) => !onPath.has(job)).sort((a, b) => spent(b).running - spent(a).running);
  const chosen = [...path.slice(-limits.timedJobs), ...others].slice(0, limits.timedJobs);
  return chosen.sort((a, b) => firstRun(a) - firstRun(b) || a.endedAt - b.endedAt);
}

const firstRun = ({ phases, endedAt }: TimedJob): number =>
  phases.find(({ phase }) => phase === "running")?.at ?? endedAt;

/** However short a phase is, it is seen, unless a later one begins in the same place. */
function barOf(
  { phases, endedAt }: TimedJob,
  { startedAt, endedAt: over }: Timings,
  width: number,
  paint: Paint,
): string {
  const scale = width / Math.max(1, over - startedAt);
  const cellAt = (at: number): number => Math.max(0, Math.min(width - 1, Math.floor((at - startedAt) * scale)));
  const bar: (Phase | undefined)[] = Array.from({ length: width });
  for (const [index, { phase, at }] of phases.entries()) {
    const next = phases[index + 1]?.at ?? endedAt;
    // A wait of no time is none.
    if (next === at && phase !== "running") continue;
    bar.fill(phase, cellAt(at), cellAt(next) + 1);
  }
  return bar
    .map((phase) =>
      phase === undefined ? " " : phase === "running" ? paint("cyan", cells[phase]) : paint("dim", cells[phase]),
    )
    .join("");
}

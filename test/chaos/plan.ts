// What a round is, drawn by its seed alone: the jobs, and the faults with their moments.
import { join } from "node:path";
import { outputOf } from "./output.ts";
import { Random } from "./random.ts";

export const faultKinds = [
  "cut",
  "freeze",
  "coordinator-kill",
  "coordinator-stop",
  "front-kill",
  "keeper-kill",
  "reader-stalls",
  "reader-slow",
  "runner-disk-full",
  "coordinator-disk-full",
  "runner-clock-back",
  "coordinator-clock-back",
] as const;
export type FaultKind = (typeof faultKinds)[number];

export interface Fault {
  readonly kind: FaultKind;
  /** After the run began, and for how long it lasts or until what was killed is there again; milliseconds. */
  readonly at: number;
  readonly lasts: number;
}

export interface PlannedJob {
  readonly name: string;
  readonly seed: number;
  readonly needs: string | undefined;
}

export interface RoundPlan {
  readonly seed: number;
  readonly jobs: readonly PlannedJob[];
  readonly commandSeed: number;
  readonly faults: readonly Fault[];
}

/** From the run's beginning until its first job writes, about; and a job that lasts longer is hit before its end. */
const STARTING_MS = 300;
const LATEST_FAULT_MS = 2_500;
const LONGEST_FAULT_MS = { freeze: 3_000, "keeper-kill": 0, cut: 0 } as Partial<Record<FaultKind, number>>;

export function planRound(seed: number): RoundPlan {
  const random = new Random(seed);
  const jobs: PlannedJob[] = [];
  for (let left = random.between(1, 4); left > 0; left--) {
    // Only one that passes lets others follow.
    const before = jobs.find((job) => {
      const { end } = outputOf(job.seed);
      return "code" in end && end.code === 0;
    });
    const needs = random.chance(40) ? before?.name : undefined;
    jobs.push({ name: `job${jobs.length + 1}`, seed: random.bits(), needs });
  }
  const commandSeed = random.bits();
  const pauses = jobs.map((job) => outputOf(job.seed).pieces.reduce((sum, { pause }) => sum + pause, 0));
  const latest = Math.min(STARTING_MS + Math.max(...pauses), LATEST_FAULT_MS);
  const faults: Fault[] = [];
  for (let left = random.between(1, 3); left > 0; left--) {
    const kind = random.pick(faultKinds);
    const lasts = random.between(0, LONGEST_FAULT_MS[kind] ?? 1_500);
    faults.push({ kind, at: random.between(0, latest), lasts });
  }
  return { seed, jobs, commandSeed, faults: faults.sort((a, b) => a.at - b.at) };
}

/** The command that writes what the seed says. */
export const program = (seed: number): string[] => [
  process.execPath,
  join(import.meta.dirname, "output.ts"),
  String(seed),
];

export function recipeOf({ jobs }: RoundPlan): string {
  const lines = jobs.map(({ name, seed, needs }) => {
    const run = JSON.stringify(program(seed));
    return `const ${name} = job({ run: ${run}${needs === undefined ? "" : `, needs: [${needs}]`} });`;
  });
  const names = jobs.map(({ name }) => name).join(", ");
  return `import { job, recipe } from "sortie";\n${lines.join("\n")}\nexport default recipe({ ${names} });\n`;
}

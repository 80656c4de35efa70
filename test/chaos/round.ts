// One round: the jobs of its plan on a site, the faults at their moments, and what came of it.
import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../../protocol/errors.ts";
import { processesOf } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { checkRun } from "./check.ts";
import { checkEvents } from "./check-events.ts";
import { Conduct } from "./conduct.ts";
import { inject } from "./faults.ts";
import { Figures } from "./figures.ts";
import { outputOf } from "./output.ts";
import { type FaultKind, planRound, type RoundPlan, recipeOf } from "./plan.ts";
import { checkCommand, checkReader, type SlowCommand, slowCommand, stalledReader } from "./readers.ts";
import type { Site } from "./site.ts";

const LONGEST_ROUND_MS = 90_000;

export interface Round {
  readonly figures: Figures;
  /** For a person: the faults, in order, and how many coordinators it took. */
  readonly story: string;
}

export async function playRound(site: Site, seed: number): Promise<Round> {
  const plan = planRound(seed);
  const command = hasFault(plan, "reader-slow") ? slowCommand(site, plan.commandSeed) : undefined;
  await command?.begun;
  const conduct = new Conduct(site, site.rig.recipe(recipeOf(plan), `round-${seed}.ts`));
  try {
    return await play(site, plan, conduct, command);
  } catch (error) {
    throw new Error([messageOf(error), ...conduct.words(), ...site.words()].join("\n    "), { cause: error });
  } finally {
    conduct.stop();
  }
}

const hasFault = ({ faults }: RoundPlan, kind: FaultKind): boolean => faults.some((fault) => fault.kind === kind);

async function play(site: Site, plan: RoundPlan, conduct: Conduct, command: SlowCommand | undefined): Promise<Round> {
  const figures = new Figures();
  figures.rounds = 1;
  const story: string[] = [];
  const run = await conduct.run;
  const followed = plan.jobs[0] as (typeof plan.jobs)[number];
  const readers: ReturnType<typeof stalledReader>[] = [];
  let keeperKills = 0;
  let isOver = false;
  const over = conduct.ended.finally(() => {
    isOver = true;
  });

  const faults = plan.faults.map(async (fault) => {
    await Promise.race([delay(fault.at), over.catch(() => {})]);
    // A slow reader was there from the beginning.
    if (isOver && fault.kind !== "reader-slow") return;
    if (fault.kind === "reader-stalls") readers.push(stalledReader(site, run, followed.name));
    if (!(await inject(fault, site, conduct))) return;
    if (fault.kind === "keeper-kill") keeperKills++;
    story.push(fault.kind);
    figures.fault(fault.kind);
  });
  const finished = Promise.all([over, ...faults, command?.ended, ...readers]);
  const late = await Promise.race([finished.then(() => false), delay(LONGEST_ROUND_MS, true, { ref: false })]);
  if (late) {
    figures.wrong(`it did not end: ${JSON.stringify(await conduct.show())}`);
  } else {
    const why = { keeperKills, runnerWasFull: hasFault(plan, "runner-disk-full") };
    checkRun(site, plan, await conduct.show(), why, figures);
    if (conduct.told !== undefined && keeperKills === 0) checkEvents(conduct.told, plan, figures);
    for (const reader of readers) {
      const { stdout, stderr } = await reader;
      // Another attempt follows behind the first, and a coordinator that is gone ends it.
      const whole = keeperKills === 0 && conduct.processes === 1;
      if (keeperKills === 0)
        checkReader(stdout, outputOf(followed.seed), whole, `logs -f (${stderr.slice(-200)})`, figures);
    }
    if (command) checkCommand(await command.ended, command.seed, why, figures);
  }
  for (const left of await leftOf(site, run)) {
    figures.left++;
    figures.wrong(`left behind: ${left}`);
  }
  if (figures.problems.length > 0) figures.words.push(...conduct.words(), ...site.words());
  return { figures, story: `${story.join(" ") || "nothing in time"} (${conduct.processes} coordinators)` };
}

async function leftOf(site: Site, run: string): Promise<string[]> {
  const processes = await until(
    () => processesOf(run),
    (pids) => pids.length === 0,
  );
  return [...processes.map((pid) => `the process ${pid}`), ...(await site.left())];
}

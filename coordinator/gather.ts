// The runners that a run begins with.
import { availableParallelism } from "node:os";
import { SortieError } from "../protocol/errors.ts";
import type { Fleet, KnownRunner } from "./fleet.ts";
import type { PlanJob } from "./plan.ts";
import type { Prepared } from "./prepare.ts";

/** The runners that answer; the embedded one when none is known. Rejects with NO_RUNNER. */
export async function gather(
  fleet: Fleet,
  local: boolean,
  { plan, sandbox }: Pick<Prepared, "plan" | "sandbox">,
): Promise<{ runners: KnownRunner[]; unreachable: { name: string; message: string }[] }> {
  if (local || fleet.trust.list().length === 0) {
    // On one's own machine every job finds its slots, also one that takes more than there are cores.
    const slots = Math.max(availableParallelism(), ...new Set(plan.jobs.map(slotsOf)));
    return { runners: [await fleet.embedded(slots, sandbox?.runner)], unreachable: [] };
  }
  const named = namesOf(plan.jobs);
  const pins = fleet.trust.list();
  // Of a name that is none the error tells what there is.
  const isKnown = [...(named ?? [])].every((name) => pins.some((pin) => pin.name === name));
  const reached = await fleet.reachAll(isKnown ? named : undefined);
  const runners = reached.flatMap((one) => ("runner" in one ? [one.runner] : []));
  const unreachable = reached.flatMap((one) =>
    "error" in one ? [{ name: one.pin.name, message: `${one.error.message} ${one.error.hint}` }] : [],
  );
  if (runners.length > 0) return { runners, unreachable };
  throw new SortieError(
    "NO_RUNNER",
    `None of the known runners answers: ${unreachable.map(({ message }) => message).join("; ")}`,
    { hint: "Start one of them, remove them with `coordinator trust revoke NAME`, or run here with --local." },
  );
}

/**
 * The runners that the jobs name, where all of them name one: then nobody waits for others, which may be away. A function may
 * give jobs that name none.
 */
function namesOf(jobs: readonly PlanJob[]): Set<string> | undefined {
  const names = new Set<string>();
  for (const { on, also = [], drive } of jobs) {
    for (const { runner } of [on, ...also.map((place) => place.on)]) {
      if (runner === undefined || drive) return undefined;
      names.add(runner);
    }
  }
  return names.size > 0 ? names : undefined;
}

/** Of all its places. */
const slotsOf = ({ on, also = [] }: PlanJob): number =>
  [{ on }, ...also].reduce((sum, place) => sum + (place.on.slots ?? 1), 0);

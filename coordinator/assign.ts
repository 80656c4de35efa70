// Which runners can hold all places of a job at the same time, several of them on one where it has the slots. Pure.
// placing.ts asks it for jobs with more than one place, and selectors.ts before a run begins.
import { limits } from "../protocol/limits.ts";

/** Runners by their numbers. */
export interface AskedPlace {
  readonly slots: number;
  fits(runner: number): boolean;
}

/**
 * A runner for each place, in order; `rooms` are the slots of each that may be used, and earlier ones of `runners` are
 * taken rather than later ones. Undefined where there are none, or where it takes too long to say: the same question has
 * the same answer, so that a job which passes this with whole runners will find its places once they are free.
 */
export function assign(
  places: readonly AskedPlace[],
  rooms: readonly number[],
  runners: readonly number[] = rooms.map((_, runner) => runner),
): number[] | undefined {
  const hardestFirst = places
    .map(({ slots, fits }, index) => {
      const candidates = runners.filter((runner) => (rooms[runner] ?? 0) >= slots && fits(runner));
      return { index, slots, candidates, suited: new Set(candidates) };
    })
    .sort((one, other) => one.candidates.length - other.candidates.length || other.slots - one.slots);
  const left = [...rooms];
  const found: number[] = [];
  let tries = 0;

  function put(depth: number): boolean {
    const place = hardestFirst[depth];
    if (!place) return true;
    const tried = new Set<string>();
    const rest = hardestFirst.slice(depth + 1);
    for (const runner of place.candidates) {
      const room = left[runner] ?? 0;
      if (room < place.slots) continue;
      // What failed with one runner fails with each that is like it.
      const kind = `${room} ${rest.map(({ suited }) => (suited.has(runner) ? 1 : 0)).join("")}`;
      if (tried.has(kind)) continue;
      tried.add(kind);
      if (++tries > limits.assignTries) return false;
      left[runner] = room - place.slots;
      found[place.index] = runner;
      if (put(depth + 1)) return true;
      left[runner] = room;
    }
    return false;
  }

  return put(0) ? found : undefined;
}

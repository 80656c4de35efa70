// What the record has to complete a command line with: jobs of a recipe's last run, and runs. It makes no record where there is
// none, and a damaged one completes nothing.
import { existsSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { homeOf } from "../protocol/home.ts";
import { openStore, type Store } from "./store/store.ts";

type Candidates = readonly (readonly [string, string])[];

/** Of the runs that are offered, the latest. */
const MOST_RUNS = 20;

function fromRecord(look: (store: Store) => Candidates): Candidates {
  const folder = homeOf("coordinator");
  if (!existsSync(join(folder, "sortie.db"))) return [];
  try {
    const store = openStore(folder);
    try {
      return look(store);
    } finally {
      store.close();
    }
  } catch {
    return [];
  }
}

/** Jobs of the recipe that is named among the words, as its last run had them: the recipe itself is not run. */
export function jobsOfRecipe(words: readonly string[]): Candidates {
  const recipe = words.find((word) => /^[^-].*\.[cm]?[jt]s$/.test(word));
  if (recipe === undefined) return [];
  return fromRecord((store) => {
    const run = store.lastRunOf(resolve(recipe));
    return run ? store.jobs(run.id).map(({ name, outcome }) => [name, outcome ?? ""]) : [];
  });
}

export const knownRuns = (): Candidates =>
  fromRecord((store) => {
    const runs = store.runs(MOST_RUNS);
    return [
      ...(runs.length > 0 ? [["last", "the latest"] as const] : []),
      ...runs.map(({ id, recipe, state }) => [id, `${relative(".", recipe)}, ${state}`] as const),
    ];
  });

/** Jobs of the latest run, as `logs` and `cancel` take them. */
export const jobsOfLastRun = (): Candidates =>
  fromRecord((store) => {
    const [run] = store.runs(1);
    return run ? store.jobs(run.id).map(({ name, outcome }) => [`last/${name}`, outcome ?? run.state]) : [];
  });

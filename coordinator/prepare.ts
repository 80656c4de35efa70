// What a command asks for, made into what a run will do: the recipe is loaded and planned, the jobs are chosen, and those
// that an earlier run has done are found. For `coordinator run`, also where nothing is run, and for `resume`.
import { resolve } from "node:path";
import { SortieError } from "../protocol/errors.ts";
import type { JobName, RunId } from "../protocol/ids.ts";
import { type AskedOn, askOn } from "./ask-on.ts";
import { fingerprintOf, fingerprintOfJob } from "./fingerprint.ts";
import type { GivenParam } from "./given-params.ts";
import { type EarlierRun, findEarlier, keptOf } from "./keep.ts";
import { type KnownResult, knownResult } from "./known-result.ts";
import { type Loaded, loadPlanned } from "./load-planned.ts";
import type { Plan, planOf } from "./plan.ts";
import type { Resumed } from "./resume.ts";
import type { SandboxGrants } from "./sandbox/grants.ts";
import { isSelective, restrictTo, type Selection, selectJobs } from "./select.ts";
import { checkStdin } from "./stdin-source.ts";
import { openStore } from "./store/store.ts";

/** As a command line has it. */
export interface Asked {
  readonly recipe: string;
  /** Of the recipe, as they were given. */
  readonly params: readonly GivenParam[];
  /** Which of its jobs; default: all, or those of the run that this one goes on from. */
  readonly selection?: Selection;
  /** Of every job's runner; default: nothing, or as the run that this one goes on from. */
  readonly on?: AskedOn;
  /** Jobs that are run again, with what needs them; what passed besides is kept. */
  readonly from?: readonly string[];
  /** The run that this one goes on from; default, where `from` is there: the recipe's latest that is over. */
  readonly after?: string;
  /** What the recipe may do, in a sandbox; absent: it is in none. */
  readonly sandbox?: SandboxGrants;
  /** Told every file that the recipe is made of. */
  readonly onImport?: (file: string) => void;
}

/** Its `loaded` is to be disposed of. */
export interface Prepared {
  readonly loaded: Loaded;
  /** All of the recipe. */
  readonly whole: ReturnType<typeof planOf>;
  /** What the run is to do. */
  readonly plan: Plan;
  /** Of each job of the plan, by the recipe alone. */
  readonly fingerprints: ReadonlyMap<JobName, string>;
  /** Jobs that are not run, and the run in which each of them passed. */
  readonly kept: ReadonlyMap<JobName, RunId>;
  /** What that run knows of its jobs. */
  readonly results: ReadonlyMap<JobName, KnownResult>;
  /** What was asked for, with what was taken from the earlier run. */
  readonly params?: readonly GivenParam[];
  readonly selection?: Selection;
  readonly on: AskedOn;
  readonly after?: RunId;
  /** What the recipe may do; absent: it is in no sandbox. */
  readonly sandbox?: SandboxGrants;
}

/** `folder` is the coordinator's. Rejects as loadRecipe, planOf, selectJobs, askOn, findEarlier and keptOf do. */
export async function prepare(asked: Asked, folder: string, signal?: AbortSignal): Promise<Prepared> {
  const earlier = asked.from?.length || asked.after !== undefined ? earlierOf(asked, folder) : undefined;
  const params = [...asked.params];
  for (const param of earlier?.row.params ?? []) if (!params.some(({ key }) => key === param.key)) params.push(param);
  const selection =
    asked.selection && isSelective(asked.selection) ? asked.selection : (earlier?.row.selection ?? undefined);
  const on = asked.on && Object.keys(asked.on).length > 0 ? asked.on : (earlier?.row.on ?? {});
  const { loaded, whole } = await loadPlanned(
    asked.recipe,
    {
      params,
      ...(signal ? { signal } : {}),
      ...(earlier ? { environment: {} } : {}),
      ...(asked.onImport ? { onImport: asked.onImport } : {}),
    },
    asked.sandbox,
  );
  return closedOnFailure(loaded, () => {
    const plan = askOn(selectJobs(whole, selection ?? {}), on);
    checkStdin(plan.jobs);
    return {
      loaded,
      whole,
      plan,
      fingerprints: fingerprintsOf(whole),
      kept: earlier ? keptOf(plan, whole, earlier, asked.from ?? []) : new Map(),
      results: new Map(earlier?.jobs.map((job) => [job.name, knownResult(job)])),
      ...(loaded.params ? { params: loaded.params } : {}),
      ...(selection ? { selection } : {}),
      on,
      ...(earlier ? { after: earlier.row.id } : {}),
      ...(asked.sandbox ? { sandbox: asked.sandbox } : {}),
    };
  });
}

/** The same for a run that is gone on with. Throws RECIPE_CHANGED too. */
export async function prepareAgain(
  { run, recipe, params, jobs, on, fingerprint, sandbox }: Resumed,
  signal: AbortSignal,
): Promise<Prepared> {
  const { loaded, whole } = await loadPlanned(recipe, { signal, params, environment: {} }, sandbox);
  return closedOnFailure(loaded, () => {
    const plan = askOn(restrictTo(whole, new Set(jobs.map(({ name }) => name))), on);
    if (fingerprint !== fingerprintOf(plan))
      throw new SortieError("RECIPE_CHANGED", `${recipe} is not what it was when the run ${run} began.`);
    const nothing = { kept: new Map(), results: new Map() };
    return {
      loaded,
      whole,
      plan,
      fingerprints: fingerprintsOf(whole),
      ...nothing,
      on,
      ...(sandbox ? { sandbox } : {}),
    };
  });
}

async function closedOnFailure(loaded: Loaded, prepared: () => Prepared): Promise<Prepared> {
  try {
    return prepared();
  } catch (error) {
    await loaded[Symbol.asyncDispose]();
    throw error;
  }
}

const fingerprintsOf = ({ jobs }: Plan): Map<JobName, string> =>
  new Map(jobs.map((job) => [job.name, fingerprintOfJob(job)]));

function earlierOf({ recipe, after }: Asked, folder: string): EarlierRun {
  const store = openStore(folder);
  try {
    return findEarlier(store, resolve(recipe), after);
  } finally {
    store.close();
  }
}

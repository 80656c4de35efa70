// READ FIRST: the whole way of a run. recipe -> plan -> runners -> schedule -> dispatch; what happens is told as
// events, which the store records and a view shows. resume.ts finds out what an earlier process did of it.
import { setTimeout as delay } from "node:timers/promises";
import { homeOf } from "../protocol/home.ts";
import { limits } from "../protocol/limits.ts";
import { checkAnswers } from "./answers.ts";
import { askOn } from "./ask-on.ts";
import type { RunOutcome } from "./events.ts";
import { execute } from "./execute.ts";
import { openFleet } from "./fleet.ts";
import { gather } from "./gather.ts";
import { earlierOfKept } from "./keep.ts";
import { prepare, prepareAgain } from "./prepare.ts";
import { earlierOf } from "./resume.ts";
import type { RunOptions } from "./run-options.ts";
import { openRecord } from "./run-record.ts";
import { openSecrets } from "./secrets.ts";
import { checkSelectors } from "./selectors.ts";
import { checkStdin } from "./stdin-source.ts";

/** Runs a recipe to its end. Rejects with a SortieError where it could not begin, or could not be recorded. */
export async function runRecipe(options: RunOptions): Promise<RunOutcome> {
  const folder = homeOf("coordinator");
  const { resumed, cancelled } = options;
  const prepared = await (resumed ? prepareAgain(resumed, cancelled) : prepare(options, folder, cancelled));
  await using loaded = prepared.loaded;
  const { plan, kept } = prepared;
  options.onPlanned?.(plan);
  const left = plan.jobs.filter(({ name }) => !kept.has(name) && !resumed?.over.has(name));
  const secrets = openSecrets(plan.recipe, process.env, cancelled);
  await secrets.read([...left, { name: "notify", notify: loaded.notify }]);
  checkAnswers(options.answers, prepared.whole);
  const fleet = openFleet(folder, options.silenceMs, options.signWith);
  let hurry = (): boolean => false;
  options.onKillable(() => {
    const goesOn = hurry();
    fleet.killEmbedded();
    return goesOn ? delay(limits.closeMs) : undefined;
  });
  try {
    const reached = await gather(fleet, options.local || resumed?.local === true, prepared);
    const { runners, unreachable } = reached;
    const infos = runners.map((runner) => runner.info);
    // A runner that does not answer may be what a job asks for: that job is then lost, not wrong.
    if (unreachable.length === 0) checkSelectors({ jobs: left }, infos);
    const record = await openRecord(options, prepared, secrets, folder);
    const { run, claims, emit } = record;
    try {
      await record.begin(fleet, reached);
      const outcome = await execute({
        run,
        claims,
        emit,
        secrets,
        cancelled: record.cancelled,
        plan: { ...plan, names: prepared.whole.names, source: loaded.source },
        params: loaded.values,
        runners,
        folder,
        jobs:
          options.jobs ??
          Math.max(
            1,
            infos.reduce((sum, { slots }) => sum + slots, 0),
          ),
        failFast: options.failFast ?? false,
        answers: options.answers,
        prepare: (given) => secrets.read(given),
        admit(given) {
          const { jobs } = askOn({ recipe: plan.recipe, jobs: given }, prepared.on);
          checkStdin(jobs);
          record.add(jobs);
          return jobs;
        },
        onCancellable: record.cancelsJobs,
        onHurried: (how) => {
          hurry = how;
        },
        ...(resumed ? { earlier: earlierOf(resumed, fleet, runners) } : {}),
        ...(kept.size > 0 ? { earlier: earlierOfKept(prepared) } : {}),
      });
      await record.end(outcome);
      return outcome;
    } finally {
      await record.close();
    }
  } finally {
    await fleet.close();
  }
}

// A runner inside a coordinator's own process: everything is allowed, unless it is told otherwise, since it is one's own
// machine; and the keeper is in the same process, so what runs ends with it.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Handlers } from "../protocol/call.ts";
import { limits } from "../protocol/limits.ts";
import { isAlive, lockFolder } from "../protocol/lock.ts";
import type { RunnerInfo } from "../protocol/messages.ts";
import { createAdmission } from "./admission.ts";
import { compile } from "./grants/decide.ts";
import { allowAll, type Policy } from "./grants/policy.ts";
import { defaultJournalLimits } from "./keeper/disk-budget.ts";
import { embeddedKeeper } from "./keeper/keeper-link.ts";
import { isMarked } from "./keeper/marks.ts";
import { platformLabels } from "./labels.ts";
import { createRunner } from "./runner.ts";

export interface EmbeddedRunner {
  readonly handlers: Handlers;
  info(): RunnerInfo;
  /** Cancels what runs, and removes everything. */
  close(): Promise<void>;
  /** KILL to every process, now, and removes everything: for the second Ctrl-C. */
  kill(): void;
}

/** `parent` holds a folder for each process that embeds one. What those that were killed left there is ended first. */
export async function embedRunner(parent: string, slots: number, policy: Policy = allowAll): Promise<EmbeddedRunner> {
  const section = compile(policy, "what was allowed here");

  const earlier: Promise<void>[] = [];
  for (const name of existsSync(parent) ? readdirSync(parent) : [])
    if (!isAlive(Number(name))) earlier.push(...(await endEarlier(join(parent, name))));
  const folder = join(parent, String(process.pid));
  const keeper = await embeddedKeeper(folder);
  const admission = createAdmission({ name: "local", own: true, sectionsFor: () => [section], keeper });
  const runner = await createRunner({
    name: "local",
    labels: platformLabels(),
    slots,
    admission,
    keeper,
    leaseMs: limits.leaseMs,
    journals: defaultJournalLimits,
  });
  return {
    handlers: runner.handlers,
    info: runner.info,
    async close() {
      await runner.cancelAll();
      await runner.close();
      await Promise.all(earlier);
      removeClean(folder);
    },
    kill() {
      if (keeper.kill()) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Ends what a process that was killed left on this machine; gives what is still done elsewhere meanwhile, on engines and
 * hosts. Nothing where another process does it.
 */
async function endEarlier(folder: string): Promise<Promise<void>[]> {
  let unlock: () => void;
  try {
    unlock = lockFolder(folder);
  } catch {
    return [];
  }
  const keeper = await embeddedKeeper(folder);
  // The lock last: whoever took it before would have the folder removed under it.
  const ended = keeper
    .close()
    .then(() => removeClean(folder))
    .finally(unlock);
  return [ended.catch(() => {})];
}

/** The folder stays while what a job left elsewhere has to be found by it. */
function removeClean(folder: string): void {
  if (!isMarked(folder)) rmSync(folder, { recursive: true, force: true });
}

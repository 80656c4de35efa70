// A runner inside a coordinator's own process: everything is allowed, it is one's own machine, and the keeper is in the
// same process, so what runs ends with it.
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Handlers } from "../protocol/call.ts";
import { limits } from "../protocol/limits.ts";
import { isAlive } from "../protocol/lock.ts";
import type { RunnerInfo } from "../protocol/messages.ts";
import { defaultJournalLimits } from "./keeper/disk-budget.ts";
import { embeddedKeeper } from "./keeper/keeper-link.ts";
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
export async function embedRunner(parent: string, slots: number): Promise<EmbeddedRunner> {
  for (const name of existsSync(parent) ? readdirSync(parent) : []) {
    if (isAlive(Number(name))) continue;
    const left = join(parent, name);
    await (await embeddedKeeper(left)).close();
    rmSync(left, { recursive: true, force: true });
  }
  const folder = join(parent, String(process.pid));
  const keeper = await embeddedKeeper(folder);
  const remove = (): void => rmSync(folder, { recursive: true, force: true });
  const runner = await createRunner({
    name: "local",
    labels: platformLabels(),
    slots,
    grants: { all: true },
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
      remove();
    },
    kill() {
      if (keeper.kill()) remove();
    },
  };
}

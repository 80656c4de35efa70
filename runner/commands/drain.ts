// `runner drain`: the runner on this machine takes no new jobs, finishes what runs, and leaves.
import { setTimeout as delay } from "node:timers/promises";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { folderOwner } from "../../protocol/lock.ts";
import { findRunning } from "../running.ts";

const LOOK_EVERY_MS = 100;

export const builder = (yargs: Argv) =>
  yargs
    .option("wait", { type: "boolean", default: true, describe: "--wait=false returns at once" })
    .example("$0 drain", "returns when the last job is done and the runner has left");

export async function handler({ wait }: { readonly wait: boolean }): Promise<number> {
  const folder = homeOf("runner");
  const running = findRunning(folder);
  if (!running)
    throw new SortieError("NOT_FOUND", `No runner runs on ${folder}.`, { hint: "SORTIE_HOME names another folder." });
  process.kill(running.pid, "SIGUSR2");
  process.stdout.write(`${running.name} is draining\n`);
  while (wait && folderOwner(folder) === running.pid) await delay(LOOK_EVERY_MS);
  if (wait) process.stdout.write(`${running.name} has left\n`);
  return 0;
}

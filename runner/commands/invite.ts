// `runner invite`: one more coordinator for the runner that runs.
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { openInvites } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { findRunning } from "../running.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("ttl", { type: "number", default: limits.inviteTtlMs / 60_000, describe: "Minutes that the invite lives" })
    .option("address", {
      type: "string",
      array: true,
      describe: "Multiaddr under which the runner is reached, where it is not the one it listens on",
    });

export async function handler({ ttl, address }: { ttl: number; address: string[] | undefined }): Promise<void> {
  const folder = homeOf("runner");
  const running = findRunning(folder);
  if (!running)
    throw new SortieError("NOT_FOUND", `No runner runs on ${folder}.`, {
      hint: "Start it with `runner start`; it prints an invite itself.",
    });
  if (!(ttl > 0 && ttl <= 7 * 24 * 60)) throw new SortieError("USAGE", "--ttl takes minutes, at most a week.");
  process.stdout.write(`${openInvites(folder).issue(running.peer, address ?? running.addresses, ttl * 60_000)}\n`);
}

// `runner invite`: one more coordinator for the runner that runs.
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { openInvites } from "../../protocol/invite.ts";
import { findRunning } from "../running.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("ttl", { type: "string", default: "10m", describe: "How long the invite lives: 90s, 10m, 2h, 1d" })
    .option("address", {
      type: "string",
      array: true,
      describe: "Multiaddr under which the runner is reached, where it is not the one it listens on",
    })
    .example("$0 invite", "prints a URL for `coordinator add`, good for ten minutes and one use")
    .example("$0 invite --ttl 1d --address /dns4/w1.example/tcp/7700", "for somebody who comes later, from elsewhere");

export async function handler({ ttl, address }: { ttl: string; address: string[] | undefined }): Promise<void> {
  const ttlMs = parseTtl(ttl);
  const folder = homeOf("runner");
  const running = findRunning(folder);
  if (!running)
    throw new SortieError("NOT_FOUND", `No runner runs on ${folder}.`, {
      hint: "Start it with `runner start`; it prints an invite itself.",
    });
  process.stdout.write(`${openInvites(folder).issue(running.peer, address ?? running.addresses, ttlMs)}\n`);
}

const UNITS_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
/** An invite is an open door; who needs one for longer makes another. */
const LONGEST_MS = 7 * 86_400_000;

/** A bare number is minutes. */
function parseTtl(text: string): number {
  const [, number = "", unit = ""] = /^(\d{1,6})([smhd]?)$/.exec(text) ?? [];
  const ttlMs = Number(number) * (UNITS_MS[unit || "m"] ?? 0);
  if (ttlMs > 0 && ttlMs <= LONGEST_MS) return ttlMs;
  throw new SortieError(
    "USAGE",
    `--ttl takes a time like 90s, 10m, 2h or 1d, at most a week, not ${JSON.stringify(text)}.`,
  );
}

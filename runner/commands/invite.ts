// `runner invite`: one more coordinator for the runner that runs.
import * as v from "valibot";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { openInvites } from "../../protocol/invite.ts";
import { GroupName } from "../../protocol/trust.ts";
import { findRunning } from "../running.ts";

export const builder = (yargs: Argv) =>
  yargs
    .option("ttl", { type: "string", default: "10m", describe: "How long the invite lives: 90s, 10m, 2h, 1d" })
    .option("address", {
      type: "string",
      array: true,
      describe: "Multiaddr under which the runner is reached, where it is not the one it listens on",
    })
    .option("group", {
      alias: "policy",
      type: "string",
      describe: "The group that the coordinator belongs to: whose grants it has, by the runner's policy file",
    })
    .example("$0 invite", "prints a URL for `coordinator add`, good for ten minutes and one use")
    .example("$0 invite --ttl 1d --address /dns4/w1.example/tcp/7700", "for somebody who comes later, from elsewhere");

interface Options {
  readonly ttl: string;
  readonly address: string[] | undefined;
  readonly group: string | undefined;
}

export async function handler({ ttl, address, group }: Options): Promise<void> {
  const ttlMs = parseTtl(ttl);
  if (group !== undefined && !v.is(GroupName, group))
    throw new SortieError("USAGE", `--group takes a name of letters, digits and _.-, not ${JSON.stringify(group)}.`);
  const folder = homeOf("runner");
  const running = findRunning(folder);
  if (!running)
    throw new SortieError("NOT_FOUND", `No runner runs on ${folder}.`, {
      hint: "Start it with `runner start`; it prints an invite itself.",
    });
  const url = openInvites(folder).issue(running.peer, address ?? running.addresses, ttlMs, group);
  process.stdout.write(`${url}\n`);
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

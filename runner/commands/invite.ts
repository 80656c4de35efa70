// `runner invite`: one more coordinator for the runner that runs.
import * as v from "valibot";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { openInvites } from "../../protocol/invite.ts";
import { parseTtl } from "../../protocol/invite-ttl.ts";
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

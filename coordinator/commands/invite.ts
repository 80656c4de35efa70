// `coordinator invite`: an invite for a runner that this side cannot dial, which is answered for as long as this command waits.
import type { Argv } from "yargs";
import { exitCodes } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { type Invites, openInvites, parseInvite } from "../../protocol/invite.ts";
import { parseTtl } from "../../protocol/invite-ttl.ts";
import { limits } from "../../protocol/limits.ts";
import { createNotice } from "../../protocol/notice.ts";
import { oneLine } from "../../protocol/text.ts";
import { openTrust, type Pin, type Trust } from "../../protocol/trust.ts";
import { watchFolder } from "../../protocol/watch-folder.ts";
import { type Joined, openJoined } from "../joined.ts";
import { listenOption } from "./listen.ts";

interface Options {
  readonly listen: string | undefined;
  readonly address: readonly string[] | undefined;
  readonly ttl: string;
}

export const builder = (yargs: Argv) =>
  yargs
    .option("listen", listenOption)
    .option("address", {
      type: "string",
      array: true,
      describe: "Multiaddr under which this side is reached, where it is not the one it listens on",
    })
    .option("ttl", { type: "string", default: "10m", describe: "How long the invite lives: 90s, 10m, 2h, 1d" })
    .example("$0 invite", "prints a URL for `runner start --join`, and waits for that runner")
    .example("$0 invite --address /dns4/ci.example/tcp/7701", "behind a port that is forwarded");

export async function handler({ listen, address, ttl }: Options): Promise<number> {
  const ttlMs = parseTtl(ttl);
  const folder = homeOf("coordinator");
  const { peer } = await loadIdentity(folder);
  const trust = openTrust(folder);
  const invites = openInvites(folder);
  const stopped = interruptSignal(() => {});
  const say = (line: string): void => void process.stderr.write(`sortie: ${oneLine(line)}\n`);
  const joined = openJoined({ folder, listen, log: say });
  try {
    const { addresses } = await joined.listen();
    const url = invites.issue(peer, address ?? addresses, ttlMs);
    process.stdout.write(`${url}\n`);
    say("waiting for one runner: npx runner start --join, with this URL in quotes; Ctrl-C takes it back");
    const { id, expiresAt } = parseInvite(url);
    const pin = await whoJoins({ folder, id, expiresAt, trust, invites, joined, stopped });
    if (pin) {
      process.stdout.write(
        `${pin.name} (${pin.peer}) has joined, and is trusted.\nTry: npx coordinator exec ${pin.name} -- uname -a\n`,
      );
      return exitCodes.passed;
    }
    invites.withdraw(id);
    say(stopped.aborted ? "the invite is taken back" : "the invite is over, and nobody used it");
    return stopped.aborted ? exitCodes.interrupted : exitCodes.failed;
  } finally {
    await joined.close();
  }
}

interface Waiting {
  readonly folder: string;
  readonly id: string;
  readonly expiresAt: number;
  readonly trust: Trust;
  readonly invites: Invites;
  readonly joined: Joined;
  readonly stopped: AbortSignal;
}

/** Whichever process of this coordinator answers it. Undefined where its time is over, or the person's patience. */
async function whoJoins({ folder, id, expiresAt, trust, invites, joined, stopped }: Waiting): Promise<Pin | undefined> {
  const notice = createNotice();
  stopped.addEventListener("abort", notice.tell, { once: true });
  const stopWatching = watchFolder(folder, notice.tell);
  try {
    for (;;) {
      const pin = trust.get(invites.usedBy(id) ?? "");
      if (pin || stopped.aborted || Date.now() >= expiresAt) return pin;
      // Whoever listened may have ended meanwhile.
      await joined.listen();
      await notice.next(limits.joinLookMs);
    }
  } finally {
    stopWatching();
  }
}

// `coordinator invite`: an invite for a runner that this side cannot dial, which is answered for as long as this command waits.
import type { Argv } from "yargs";
import { exitCodes } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { type InviteOptions, type Issued, inviteCommand, type Listening } from "../../protocol/invite-command.ts";
import { limits } from "../../protocol/limits.ts";
import { createNotice } from "../../protocol/notice.ts";
import { oneLine } from "../../protocol/text.ts";
import { openTrust, type Pin } from "../../protocol/trust.ts";
import { watchFolder } from "../../protocol/watch-folder.ts";
import { type Joined, openJoined } from "../joined.ts";
import { listenOption } from "./listen.ts";

interface Options extends InviteOptions {
  readonly listen: string | undefined;
}

const command = inviteCommand<Options>({
  side: "coordinator",
  groups: false,
  command: (code, address) => `npx runner start --join ${address} --code ${code}`,
  listening,
});

export const builder = (yargs: Argv) => command.builder(yargs.option("listen", listenOption));
export const handler = command.handler;

const say = (line: string): void => void process.stderr.write(`sortie: ${oneLine(line)}\n`);

async function listening(folder: string, { listen, json, code }: Options): Promise<Listening> {
  const { peer } = await loadIdentity(folder);
  const stopped = interruptSignal(() => {});
  const joined = openJoined({ folder, listen, log: say });
  const { addresses } = await joined.listen();
  return {
    peer,
    addresses,
    async answer(issued) {
      say(
        code
          ? "waiting for one runner; Ctrl-C takes it back"
          : "waiting for one runner: npx runner start --join, with this in quotes; Ctrl-C takes it back",
      );
      const pin = await whoJoins(folder, issued, joined, stopped);
      if (pin) {
        const told = `${pin.name} (${pin.peer}) has joined, and is trusted.\nTry: npx coordinator exec ${pin.name} -- uname -a`;
        process.stdout.write(`${json ? JSON.stringify({ joined: { name: pin.name, peer: pin.peer } }) : told}\n`);
        return exitCodes.passed;
      }
      issued.withdraw();
      say(stopped.aborted ? "the invite is taken back" : "the invite is over, and nobody used it");
      return stopped.aborted ? exitCodes.interrupted : exitCodes.failed;
    },
    close: () => joined.close(),
  };
}

/** Whichever process of this coordinator answers it. Undefined where its time is over, or the person's patience. */
async function whoJoins(
  folder: string,
  issued: Issued,
  joined: Joined,
  stopped: AbortSignal,
): Promise<Pin | undefined> {
  const trust = openTrust(folder);
  const notice = createNotice();
  stopped.addEventListener("abort", notice.tell, { once: true });
  const stopWatching = watchFolder(folder, notice.tell);
  try {
    for (;;) {
      const pin = trust.get(issued.usedBy() ?? "");
      if (pin || stopped.aborted || Date.now() >= issued.expiresAt) return pin;
      // Whoever listened may have ended meanwhile.
      await joined.listen();
      await notice.next(limits.joinLookMs);
    }
  } finally {
    stopWatching();
  }
}

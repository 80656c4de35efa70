// `coordinator add URL`: proves the invite to its runner, and both trust each other from then on.
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { parseInvite } from "../../protocol/invite.ts";
import { startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { proveInvite } from "../../protocol/use-invite.ts";
import { ownName } from "../own-name.ts";

export const builder = (yargs: Argv) =>
  yargs
    .positional("invite", {
      type: "string",
      demandOption: true,
      describe: "The URL that `runner start` or `runner invite` printed, in quotes",
    })
    .option("name", { type: "string", describe: "What to call the runner here; default: its own name" })
    .example("$0 add 'sortie:…' --name w1", "the URL in quotes, for it holds characters that a shell reads");

export async function handler({ invite: url, name }: { invite: string; name: string | undefined }): Promise<void> {
  const invite = parseInvite(url);
  const folder = homeOf("coordinator");
  const identity = await loadIdentity(folder);
  const trust = openTrust(folder);
  // Before the invite is used up: a wrong name, or a damaged file, would come too late afterwards.
  if (name !== undefined) trust.checkName(name, invite.peer);
  trust.list();
  const node = await startNode({
    identity,
    listen: [],
    trusts: (peer) => peer === invite.peer,
    pairingOpen: () => false,
  });
  try {
    const paired = await proveInvite(node, ownName(), invite);
    let pin = trust.pin(invite.peer, name ?? paired.name, invite.addresses);
    // A runner that was known before keeps its name, unless another one is asked for.
    if (name !== undefined && pin.name !== name) {
      trust.rename(pin.peer, name);
      pin = { ...pin, name };
    }
    process.stdout.write(
      `${pin.name} (${pin.peer}) is trusted, and trusts this coordinator.\nTry: npx coordinator exec ${pin.name} -- uname -a\n`,
    );
  } finally {
    await node.stop();
  }
}

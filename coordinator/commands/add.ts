// `coordinator add`: proves an invite, or a code, to its runner, and both trust each other from then on.
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { issuerOf, parseGiven, proveGiven } from "../../protocol/use-invite.ts";
import { ownName } from "../own-name.ts";
import { forgetTyped, typedLine } from "../typed-line.ts";

interface Options {
  readonly invite: string;
  readonly code: string | undefined;
  readonly name: string | undefined;
  readonly yes: boolean;
}

export const builder = (yargs: Argv) =>
  yargs
    .positional("invite", {
      type: "string",
      demandOption: true,
      describe: "The URL that `runner start` or `runner invite` printed, in quotes; with --code the runner's address",
    })
    .option("code", { type: "string", describe: "The code that `runner invite --code` printed there" })
    .option("name", { type: "string", describe: "What to call the runner here; default: its own name" })
    .option("yes", { alias: "y", type: "boolean", default: false, describe: "Do not ask whether it is the right one" })
    .example("$0 add 'sortie:…' --name w1", "the URL in quotes, for it holds characters that a shell reads")
    .example("$0 add --code 7-K3MP-9XQ2 /ip4/192.0.2.1/tcp/7700", "with a code that somebody told you");

export async function handler({ invite: text, code, name, yes }: Options): Promise<void> {
  const given = parseGiven(text, code);
  const folder = homeOf("coordinator");
  const identity = await loadIdentity(folder);
  const trust = openTrust(folder);
  const node = await startNode({ identity, listen: [], trusts: () => false, pairingOpen: () => false });
  try {
    const issuer = await issuerOf(given, node);
    // Before the invite is used up: a wrong name, or a damaged file, would come too late afterwards.
    if (name !== undefined) trust.checkName(name, issuer.peer);
    trust.list();
    if (!yes) await confirm(issuer.peer);
    const paired = await proveGiven(node, ownName(), given, issuer);
    let pin = trust.pin(issuer.peer, name ?? paired.name, issuer.addresses);
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

/** In a terminal alone: without one the invite is the proof, as it is for a person who says yes unseen. */
async function confirm(peer: string): Promise<void> {
  if (!process.stdin.isTTY || !process.stderr.isTTY) return;
  await forgetTyped(process.stdin);
  process.stderr.write(`The runner's peer ID, as \`runner id\` prints it there:\n  ${inGroups(peer)}\n`);
  process.stderr.write("Trust it? [y/N] ");
  const answer = await typedLine(process.stdin, new AbortController().signal);
  if (/^\s*y(es)?\s*$/i.test(answer ?? "")) return;
  throw new SortieError("USAGE", "The runner was not added.", { hint: "The invite can still be used." });
}

/** For eyes and for reading aloud. */
const inGroups = (peer: string): string => peer.replace(/.{4}(?=.)/g, "$& ");

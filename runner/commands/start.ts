// `runner start`: a runner on the network. Identity, trust, node and runner are put together here.
import { availableParallelism, hostname } from "node:os";
import * as v from "valibot";
import type { Argv } from "yargs";
import type { ByteChannel } from "../../protocol/channel.ts";
import { SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { openInvites } from "../../protocol/invite.ts";
import { lockFolder } from "../../protocol/lock.ts";
import { LabelName, type Labels, LabelValue, RunnerName } from "../../protocol/messages.ts";
import { startNode } from "../../protocol/node.ts";
import { answerPairing } from "../../protocol/pair.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { oneLine } from "../../protocol/text.ts";
import { openTrust } from "../../protocol/trust.ts";
import { platformLabels } from "../labels.ts";
import { createRunner } from "../runner.ts";
import { tellRunning, tellStopped } from "../running.ts";

interface Options {
  readonly name: string;
  readonly listen: readonly string[];
  readonly label: readonly string[];
  readonly slots: string;
  readonly "allow-all": boolean;
}

export const builder = (yargs: Argv) =>
  yargs
    .option("name", {
      type: "string",
      default: hostname().replace(/[^A-Za-z0-9_.-]/g, "-"),
      describe: "What coordinators call it",
    })
    .option("listen", {
      type: "string",
      array: true,
      default: ["/ip4/127.0.0.1/tcp/7700"],
      describe: "Multiaddr to listen on; /ip4/0.0.0.0/tcp/7700 for every interface",
    })
    .option("label", {
      type: "string",
      array: true,
      default: [],
      describe: "NAME=VALUE that jobs may ask for; os and arch are there already",
    })
    .option("slots", { type: "string", default: String(availableParallelism()), describe: "Jobs at once" })
    .option("allow-all", {
      alias: "A",
      type: "boolean",
      default: false,
      describe: "Let trusted coordinators run anything this user can",
    })
    .example(
      "$0 start --name w1 --label gpu=a100 --slots 2 -A",
      "a runner that trusts its coordinators with everything",
    );

export async function handler(options: Options): Promise<number> {
  const { name, labels, slots } = parseOptions(options);
  const folder = homeOf("runner");
  const unlock = lockFolder(folder);
  const stops: (() => unknown)[] = [unlock];
  const stopAll = async (): Promise<void> => {
    for (const stop of stops.splice(0).reverse()) await stop();
  };
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const log = (line: string): void => void process.stderr.write(`${new Date().toISOString()} ${oneLine(line)}\n`);

  try {
    const identity = await loadIdentity(folder);
    const trust = openTrust(folder);
    const invites = openInvites(folder);
    const runner = await createRunner({ name, labels, slots, grants: { all: options["allow-all"] }, folder, log });
    stops.push(() => runner.close());
    const interrupted = interruptSignal(() => runner.kill());

    const node = await startNode({
      identity,
      listen: options.listen,
      trusts: (peer) => trust.has(peer),
      pairingOpen: (peer) => invites.openTo(peer),
      onCall: (channel: ByteChannel, peer: string) =>
        void serveCall(channel, runner.handlers, { peer, name: trust.get(peer)?.name ?? peer }),
      onPair: (channel: ByteChannel, peer: string) =>
        void answerPairing(channel, {
          me: identity.peer,
          them: peer,
          name,
          invites,
          trust,
          onPaired: (pin) => log(`paired with ${pin.name} (${pin.peer})`),
          onRefused: (reason) => log(`refused to pair with ${peer}: ${reason}`),
        }),
    });
    stops.push(() => node.stop());
    stops.push(
      trust.onRemoved((peer) => {
        log(`${peer} is no longer trusted: its connections and jobs end`);
        node.disconnect(peer);
      }),
    );
    const addresses = node.addresses();
    tellRunning(folder, { pid: process.pid, peer: identity.peer, name, addresses });
    stops.push(() => tellStopped(folder));

    say(
      `runner ${name}: ${slots} ${slots === 1 ? "slot" : "slots"}, ${Object.entries(labels)
        .map(([label, value]) => `${label}=${value}`)
        .join(" ")}`,
    );
    say(`peer ID: ${identity.peer}`);
    for (const address of addresses) say(`listening: ${address}`);
    say(
      options["allow-all"]
        ? "grants: everything this user can do, to every trusted coordinator"
        : "grants: none; every job is refused (-A allows all)",
    );
    say("invite, for one coordinator, within ten minutes:");
    say(`  npx coordinator add '${invites.issue(identity.peer, addresses)}'`);
    await aborted(interrupted);
    log("stopping: running jobs are cancelled");
    // While the network is still there, so that the coordinators learn of it.
    await runner.close();
    return 0;
  } finally {
    await stopAll();
  }
}

function parseOptions(options: Options): { name: string; labels: Labels; slots: number } {
  if (!v.is(RunnerName, options.name))
    throw new SortieError(
      "USAGE",
      `${JSON.stringify(options.name)} is not a runner's name: letters, digits and _.- (at most 63).`,
    );
  const labels: Record<string, string> = { ...platformLabels() };
  for (const text of options.label) {
    const at = text.indexOf("=");
    const label = at < 0 ? text : text.slice(0, at);
    const value = at < 0 ? "" : text.slice(at + 1);
    if (!v.is(LabelName, label) || !v.is(LabelValue, value))
      throw new SortieError("USAGE", `${JSON.stringify(text)} is not a label: NAME=VALUE.`);
    labels[label] = value;
  }
  const slots = Number(options.slots);
  if (!Number.isInteger(slots) || slots < 1 || slots > 10_000)
    throw new SortieError("USAGE", `--slots takes a number from 1 to 10,000, not ${JSON.stringify(options.slots)}.`);
  return { name: options.name, labels, slots };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

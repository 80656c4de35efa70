// `runner start`: a runner on the network. Identity, trust, node and runner are put together here.
import { statfsSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { join } from "node:path";
import * as v from "valibot";
import type { Argv } from "yargs";
import { brief } from "../../protocol/audit.ts";
import type { Caller } from "../../protocol/call.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { durationOption } from "../../protocol/duration.ts";
import { asSortieError, SortieError } from "../../protocol/errors.ts";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { openInvites } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { lockFolder } from "../../protocol/lock.ts";
import { LabelName, type Labels, LabelValue, RunnerName } from "../../protocol/messages.ts";
import { startNode } from "../../protocol/node.ts";
import { openPairingDoor } from "../../protocol/pair-door.ts";
import { qrLines, roomOf } from "../../protocol/qr.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { parseSize } from "../../protocol/sizes.ts";
import { successionHandlers } from "../../protocol/succession.ts";
import { oneLine } from "../../protocol/text.ts";
import { openTrust, ownerOf, type Pin } from "../../protocol/trust.ts";
import { version } from "../../protocol/version.ts";
import { openFrontAudit } from "../audit.ts";
import { grantsOfRunner, type RunnerGrantOptions, runnerGrantOptions } from "../grants/of-runner.ts";
import { isDialled, join as joinCoordinator, keepJoined } from "../join.ts";
import { keeperProcess } from "../keeper/keeper-link.ts";
import { platformLabels } from "../labels.ts";
import { createRunner } from "../runner.ts";
import { tellRunning, tellStopped } from "../running.ts";
import { describeSigners, parseSigners, signatureCheck, signatureOption } from "../signatures.ts";
import { stopSignals } from "../stop-signals.ts";

interface Options extends RunnerGrantOptions {
  readonly name: string;
  readonly listen: readonly string[] | undefined;
  readonly join: string | undefined;
  readonly code: string | undefined;
  readonly label: readonly string[];
  readonly slots: string;
  readonly "require-signature": string | undefined;
  readonly once: boolean;
  readonly lease: string;
  readonly "silence-after": string;
  readonly "journal-size": string | undefined;
  readonly "journal-total": string | undefined;
  readonly "journal-keep": string;
}

export const builder = (yargs: Argv) =>
  runnerGrantOptions(yargs)
    .option("name", {
      type: "string",
      default: hostname().replace(/[^A-Za-z0-9_.-]/g, "-"),
      describe: "What coordinators call it",
    })
    .option("listen", {
      type: "string",
      array: true,
      describe:
        "Multiaddr to listen on; /ip4/0.0.0.0/tcp/7700 for every interface; default: /ip4/127.0.0.1/tcp/7700, and nothing with --join",
    })
    .option("join", {
      type: "string",
      describe:
        "The URL that `coordinator invite` printed, in quotes: dial that coordinator, now and at every later start; with --code its address",
    })
    .option("code", {
      type: "string",
      implies: "join",
      describe: "The code that `coordinator invite --code` printed there",
    })
    .option("label", {
      type: "string",
      array: true,
      default: [],
      describe:
        "NAME=VALUE that jobs may ask for; NAME!=VALUE keeps away those that do not. os and arch are there already",
    })
    .option("slots", { type: "string", default: String(availableParallelism()), describe: "Jobs at once" })
    .option("require-signature", signatureOption)
    .option("once", { type: "boolean", default: false, describe: "Take one job, and leave when it is done" })
    .option("lease", {
      type: "string",
      default: "5m",
      describe: "How long a job goes on without its coordinator, where the job does not say; none: for ever",
    })
    .option("silence-after", {
      type: "string",
      default: `${limits.silenceMs / 1_000}s`,
      describe: "A coordinator of which nothing is heard for so long is gone",
    })
    .option("journal-size", {
      type: "string",
      describe: "Disk that one job's journal may take; default: 1GiB, or a quarter of what all may take",
    })
    .option("journal-total", {
      type: "string",
      describe: "Disk that all journals may take; default: 10GiB, or half of what is free",
    })
    .option("journal-keep", {
      type: "string",
      default: "24h",
      describe: "How long a journal is kept once its coordinator has all of it",
    })
    .example(
      "$0 start --name w1 --label gpu=a100 --slots 2 -A",
      "a runner that trusts its coordinators with everything",
    )
    .example("$0 start --join 'sortie:…' -A", "one behind a NAT, which dials its coordinator");

const DEFAULT_LISTEN = ["/ip4/127.0.0.1/tcp/7700"];

/** Lines that are to stay on the screen above the invite's QR code. */
const LINES_WITH_QR = 8;

export async function handler(options: Options): Promise<number> {
  const { name, labels, mandatory, slots } = parseOptions(options);
  const leaseMs = options.lease === "none" ? null : durationOption("lease", options.lease, limits.leaseMinimumMs);
  const silenceMs = durationOption("silence-after", options["silence-after"], limits.silenceMinimumMs);
  const signers = parseSigners(options["require-signature"]);
  const keptMs = durationOption("journal-keep", options["journal-keep"], 0);
  const wanted = {
    job: bytes("journal-size", options["journal-size"]),
    all: bytes("journal-total", options["journal-total"]),
  };
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
    const grants = grantsOfRunner(options, { name, folder, trust: openTrust(folder), log });
    const { trust } = grants;
    stops.push(() => grants.close().forEach(say));
    const invites = openInvites(folder);
    const keeper = await keeperProcess(join(folder, "keeper"), { audit: join(folder, "audit") });
    const runner = await createRunner({
      name,
      labels,
      mandatory,
      slots,
      admission: grants.admission(keeper),
      keeper,
      ...(signers ? { signedBy: signatureCheck(signers, identity.peer, trust) } : {}),
      leaseMs,
      journals: { ...journalShares(folder, wanted), keptMs },
      once: options.once,
      log,
    });
    stops.push(() => runner.close());
    const handlers = { ...runner.handlers, ...successionHandlers(folder, identity.peer, trust) };
    const audit = openFrontAudit(keeper, log);
    stops.push(() => audit.close());
    const stop = stopSignals();
    stops.push(stop.close);

    const callerOf = (peer: string): Caller => {
      const pin = trust.get(peer);
      return { peer, name: pin?.name ?? peer, ...(pin ? { owner: ownerOf(pin) } : {}) };
    };
    let toldDamage = "";
    const tellDamage = (message: string): void => {
      if (message !== toldDamage) log(`nobody gets a connection: ${message}`);
      toldDamage = message;
    };
    const tellPaired = ({ peer, name }: Pin): void => audit.tell({ type: "paired", peer, name });

    const node = await startNode({
      identity,
      listen: options.listen ?? (options.join === undefined ? DEFAULT_LISTEN : []),
      silenceMs,
      trusts(peer) {
        try {
          return trust.has(peer);
        } catch (error) {
          // Nobody gets in while the file is damaged, and they are told no more than that.
          tellDamage(asSortieError(error).message);
          throw error;
        }
      },
      onStranger: audit.stranger,
      ...openPairingDoor({
        me: identity.peer,
        name,
        invites,
        trust,
        onPaired: (pin) => {
          log(`paired with ${pin.name} (${pin.peer})`);
          tellPaired(pin);
        },
        onRefused(reason, peer, host) {
          log(`refused to pair with ${peer} at ${host}: ${reason}`);
          audit.pairingRefused(peer, host, reason);
        },
      }),
      onCallRefused: (peer, error) => audit.refused(callerOf(peer), error, {}),
      onCall(channel: ByteChannel, peer: string) {
        const caller = callerOf(peer);
        return serveCall(channel, handlers, caller, {
          onRefused: (error, call) => audit.refused(caller, error, call),
        });
      },
    });
    stops.push(() => node.stop());
    stops.push(
      trust.onRemoved((peer, { owner, successor }) => {
        node.disconnect(peer);
        if (successor) {
          log(`${successor.name} goes on as ${successor.peer}, which its old key ${peer} has signed`);
          audit.tell({ type: "key-changed", peer: successor.peer, name: successor.name, before: peer });
          return;
        }
        log(`${peer} is no longer trusted: its connections and jobs end`);
        audit.tell({ type: "trust-removed", peer });
        runner.revoke(owner).catch((error: unknown) => log(asSortieError(error).message));
      }),
    );
    // Those who were removed while no runner ran.
    const gone = new Set(trust.removed().map(({ owner }) => owner));
    for (const pin of trust.list()) gone.delete(ownerOf(pin));
    for (const owner of gone) runner.revoke(owner).catch((error: unknown) => log(asSortieError(error).message));
    const addresses = node.addresses();
    const inForce = brief(grants.describe().join("; "));
    audit.tell({ type: "runner-started", peer: identity.peer, name, version, grants: inForce });
    tellRunning(folder, { pid: process.pid, peer: identity.peer, name, addresses });
    stops.push(() => tellStopped(folder));

    say(
      `runner ${name}: ${slots} ${slots === 1 ? "slot" : "slots"}, ${Object.entries(labels)
        .map(([label, value]) => `${label}${mandatory.includes(label) ? "!" : ""}=${value}`)
        .join(" ")}`,
    );
    say(`peer ID: ${identity.peer}`);
    for (const address of addresses) say(`listening: ${address}`);
    grants.describe().forEach(say);
    for (const warning of grants.warnings()) log(`warning: ${warning}`);
    if (signers) say(describeSigners(signers));
    if (options.join !== undefined)
      await joinCoordinator(options.join, options.code, name, { node, trust, log, onPaired: tellPaired });
    for (const pin of trust.list().filter(isDialled)) say(`dials ${pin.name} (${pin.peer}) whenever that listens`);
    stops.push(keepJoined({ folder, node, trust, log }));
    const invite =
      addresses.length > 0 ? inviteUnlessMany(() => invites.issue(identity.peer, addresses), log) : undefined;
    if (invite !== undefined) {
      say("invite, for one coordinator, within ten minutes:");
      say(`  npx coordinator add '${invite}'`);
      const room = roomOf(process.stdout, LINES_WITH_QR);
      for (const line of (room && (await qrLines(invite, room))) ?? []) say(line);
    }
    await Promise.race([aborted(stop.drain), runner.idle]);
    if (!options.once || stop.drain.aborted) {
      const { busy } = runner.info();
      log(`draining: no new jobs; ${busy} ${busy === 1 ? "runs" : "run"} still, and a second signal cancels them`);
    }
    runner.drain();
    await Promise.race([runner.idle, aborted(stop.cancel)]);
    if (stop.cancel.aborted) {
      log("cancelling what runs");
      // While the network is still there, so that the coordinators learn of it.
      await runner.cancelAll();
    }
    return 0;
  } finally {
    await stopAll();
  }
}

function parseOptions(options: Options): { name: string; labels: Labels; mandatory: string[]; slots: number } {
  if (!v.is(RunnerName, options.name))
    throw new SortieError(
      "USAGE",
      `${JSON.stringify(options.name)} is not a runner's name: letters, digits and _.- (at most 63).`,
    );
  const labels: Record<string, string> = { ...platformLabels() };
  const mandatory = new Set<string>();
  for (const text of options.label) {
    const at = text.indexOf("=");
    const written = at < 0 ? text : text.slice(0, at);
    const label = written.replace(/!$/, "");
    const value = at < 0 ? "" : text.slice(at + 1);
    if (!v.is(LabelName, label) || !v.is(LabelValue, value))
      throw new SortieError("USAGE", `${JSON.stringify(text)} is not a label: NAME=VALUE, or NAME!=VALUE.`);
    labels[label] = value;
    if (label === written) mandatory.delete(label);
    else mandatory.add(label);
  }
  const slots = Number(options.slots);
  if (!Number.isInteger(slots) || slots < 1 || slots > limits.slots)
    throw new SortieError("USAGE", `--slots takes a number from 1 to 10,000, not ${JSON.stringify(options.slots)}.`);
  return { name: options.name, labels, mandatory: [...mandatory], slots };
}

function bytes(option: string, text: string | undefined): number | undefined {
  if (text === undefined) return undefined;
  const count = parseSize(text);
  if (count !== undefined && count >= limits.journalMinimumBytes) return count;
  throw new SortieError("USAGE", `--${option} takes a size such as 500MiB or 1GiB, not ${JSON.stringify(text)}.`);
}

/** Each start makes one: a runner that is started for every job (`--once`) goes on when a thousand of them are alive. */
function inviteUnlessMany(issue: () => string, log: (line: string) => void): string | undefined {
  try {
    return issue();
  } catch (error) {
    const { code, message } = asSortieError(error);
    if (code !== "USAGE") throw error;
    log(`no invite is made: ${message}`);
    return undefined;
  }
}

/** Where nothing was said, journals leave half of the disk that is free to others. */
function journalShares(folder: string, wanted: { job: number | undefined; all: number | undefined }) {
  const { bavail, bsize } = statfsSync(folder);
  const all = wanted.all ?? Math.max(limits.journalMinimumBytes, Math.min(limits.journalsBytes, (bavail * bsize) / 2));
  const job = wanted.job ?? Math.max(limits.journalMinimumBytes, Math.min(limits.journalBytes, all / 4));
  return { job: Math.floor(job), all: Math.floor(all) };
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}

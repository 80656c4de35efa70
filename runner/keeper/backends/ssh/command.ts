// One command on a host: started by a script on a channel of its own, told by the channel's close and nothing before, and
// ended, with all that it started, by scripts on others. ssh.ts starts them.
import type { Ending, SignalName } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import { type Ended, Refused, type RunningCommand, type Settled } from "../backend.ts";
import { NOTHING_ENDED, notStarted, settledAtOnce } from "../not-started.ts";
import { type ChannelEnd, endOf } from "./channel-end.ts";
import { drain } from "./drain.ts";
import { afterLoss } from "./loss.ts";
import { type Outputs, outputsOf } from "./outputs.ts";
import { refusalOf } from "./refusal.ts";
import { endTree, newNonce, runScript } from "./remote.ts";
import { asLine, BOOTSTRAP, type Launch, type Leader, launchScript, signalScript, type Tree } from "./script.ts";
import type { HostSessions, Session } from "./sessions.ts";
import { stdinOf } from "./stdin.ts";

export interface Started {
  readonly command: RunningCommand;
  /** Absent where nothing was started, as far as is known. */
  readonly leader: Leader | undefined;
  readonly directory: string | undefined;
}

/** `mark` is what the environment of everything that it starts holds. Never rejects. */
export async function startCommand(host: HostSessions, launch: Omit<Launch, "nonce">, mark: string): Promise<Started> {
  const nonce = newNonce();
  let session: Session;
  try {
    session = await host.exec(BOOTSTRAP);
  } catch (error) {
    const refusal =
      error instanceof Refused ? error.refusal : { stage: "host" as const, code: null, message: String(error) };
    return { command: notStarted(refusal), leader: undefined, directory: undefined };
  }
  const { channel } = session;
  const outputs = outputsOf(channel, nonce);
  const end = endOf(session);
  channel.write(asLine(launchScript({ ...launch, nonce })));
  if (!launch.stdin) channel.end();

  const slow = setTimeout(() => channel.close(), limits.sshStartMs);
  const told = await Promise.race([outputs.told.stderr, end.cut.then(() => "")]);
  const [pid, began] = (await Promise.race([outputs.told.stdout, end.cut.then(() => "")])).split(" ");
  clearTimeout(slow);
  const tree: Tree = { mark, leader: pid ? { pid: Number(pid), began: began ?? "0" } : undefined };
  const [, what, rest = ""] = /^(started|refused) (.*)$/s.exec(told) ?? [];
  if (what === "started") {
    const command = running(host, session, outputs, end, tree, launch.stdin);
    return { command, leader: tree.leader, directory: rest };
  }
  outputs.stdout.resume();
  outputs.stderr.resume();
  if (what === "refused")
    return { command: notStarted(refusalOf(rest, launch)), leader: undefined, directory: undefined };
  const cut = await Promise.race([end.cut, end.closed.then(() => undefined)]);
  if (cut === undefined) {
    // What a shell says of our script, once that has begun, may have a variable's value in it.
    const said = pid ? "the script that starts it did not come to its end" : outputs.noise();
    const message = `${host.name} did not start the command${said ? `: ${said}` : ""}`;
    return { command: notStarted({ stage: "host", code: null, message }), leader: undefined, directory: undefined };
  }
  const lost = await afterLoss(host, tree, cut);
  return { command: settledAtOnce({ ...lost.how, heldOpen: false }), leader: tree.leader, directory: undefined };
}

function running(
  host: HostSessions,
  { channel }: Session,
  outputs: Outputs,
  end: ChannelEnd,
  tree: Tree,
  wantsStdin: boolean,
): RunningCommand {
  let over = false;
  let killing: Promise<Ending> | undefined;
  /** What the loss of the connection led to. */
  let lost: Promise<{ readonly how: Ended; readonly ending: Ending }> | undefined;
  const signals = new Set<SignalName>();
  let sending: Promise<void> = Promise.resolve();
  const stdin = wantsStdin ? stdinOf(channel, end) : undefined;
  const loss = async (why: string): Promise<Settled> => {
    lost ??= afterLoss(host, tree, why);
    const { how } = await lost;
    return { ...how, heldOpen: false };
  };
  const settle = async (): Promise<Settled> => {
    const first = await Promise.race([end.told, end.cut.then(() => undefined), end.closed.then(() => undefined)]);
    if (end.isCut()) return loss(await end.cut);
    if (first === undefined) return loss("the server closed its channel and told no exit");
    const heldOpen = await drain(host, channel, outputs, end, tree, () => killing);
    if (end.isCut()) return loss(await end.cut);
    return { ...first, heldOpen };
  };
  const settled = settle().then(async (how) => {
    if (end.isCut()) outputs.finish();
    await outputs.ended;
    over = true;
    return how;
  });
  const endNow = async (graceMs: number): Promise<Ending> => {
    for (let tries = 0; tries < limits.sshTries && !over; tries++) {
      try {
        return (await endTree(host, tree, graceMs)).ending;
      } catch {
        if (!end.isCut()) continue;
        await loss(await end.cut);
        return (await lost)?.ending ?? NOTHING_ENDED;
      }
    }
    return NOTHING_ENDED;
  };
  const deliver = async (): Promise<void> => {
    const names = [...signals];
    signals.clear();
    if (!over && names.length > 0) await runScript(host, signalScript(tree, names)).catch(() => {});
  };
  return {
    stdin,
    stdout: outputs.stdout,
    stderr: outputs.stderr,
    settled,
    signal(name) {
      // Those that come while one is on its way go together, one of each, as the kernel has them.
      signals.add(name);
      if (signals.size === 1) sending = sending.then(deliver);
    },
    kill(graceMs) {
      killing ??= over ? Promise.resolve(NOTHING_ENDED) : endNow(graceMs);
      return killing;
    },
    killNow() {
      if (!over) void endNow(0);
    },
  };
}

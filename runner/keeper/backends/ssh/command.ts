// One command on a host: started by a script on a channel of its own, told by the channel's close and nothing before, and
// ended, with all that it started, by scripts on others. ssh.ts starts them.
import type { Ending, SignalName } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { Refused, type RunningCommand, type Settled } from "../backend.ts";
import { NOTHING_ENDED } from "../ending.ts";
import { notStarted, settledAtOnce } from "../not-started.ts";
import { type ChannelEnd, endOf } from "./channel-end.ts";
import { drain } from "./drain.ts";
import { afterLoss, type Loss, unknownEnding } from "./loss.ts";
import { type Outputs, outputsOf } from "./outputs.ts";
import { refusalOf } from "./refusal.ts";
import { endTree, newNonce, runScript } from "./remote.ts";
import { asLine, BOOTSTRAP, type Launch, type Leader, launchScript, signalScript, type Tree } from "./script.ts";
import type { HostSessions, Session } from "./sessions.ts";
import { stdinOf } from "./stdin.ts";
import { unless } from "./unless.ts";

export interface Started {
  readonly command: RunningCommand;
  /** False where nothing of the job ever was on its way to the host. */
  readonly sent: boolean;
  /** Absent where nothing was started, as far as is known. */
  readonly leader: Leader | undefined;
  readonly directory: string | undefined;
}

/**
 * `mark` is what the environment of everything that it starts holds. Never rejects; nothing of the job is sent before the
 * host's shell says that it is there to read it, so that what was given up before is never run after.
 */
export async function startCommand(
  host: HostSessions,
  launch: Omit<Launch, "nonce">,
  mark: string,
  cancelled: AbortSignal,
): Promise<Started> {
  const nonce = newNonce();
  let session: Session;
  try {
    session = await host.exec(BOOTSTRAP, cancelled);
  } catch (error) {
    return never(cancelled.aborted ? CANCELLED : oneLine(error instanceof Refused ? error.message : String(error)));
  }
  const { channel } = session;
  const outputs = outputsOf(channel, nonce);
  const end = endOf(session);
  const why = await whyNotReady(host, outputs, end, cancelled);
  if (why !== undefined) {
    discard(outputs);
    channel.close();
    return never(why);
  }
  channel.write(asLine(launchScript({ ...launch, nonce })));
  if (!launch.stdin) channel.end();

  const spent = Promise.withResolvers<"">();
  const slow = setTimeout(() => spent.resolve(""), host.startMs);
  // It is a moment away from being started, and can be ended then.
  const soon = (): void => void setTimeout(() => spent.resolve(""), limits.closeMs);
  cancelled.addEventListener("abort", soon, { once: true });
  const over = Promise.race([end.cut.then(() => ""), spent.promise]);
  const told = await Promise.race([outputs.told.stderr, over]);
  const [, pid, began = ""] = /^(\d+) (\d+)$/.exec(await Promise.race([outputs.told.stdout, over])) ?? [];
  clearTimeout(slow);
  cancelled.removeEventListener("abort", soon);
  const leader = Number(pid) > 1 ? { pid: Number(pid), began } : undefined;
  const tree: Tree = { mark, leader };
  const [, what, rest = ""] = /^(started|refused) (.*)$/s.exec(told) ?? [];
  if (what === "started") {
    const command = running(host, session, outputs, end, tree, launch.stdin);
    return { command, sent: true, leader, directory: rest };
  }
  discard(outputs);
  if (what === "refused") return { ...NEVER, sent: true, command: notStarted(refusalOf(rest, launch)) };
  const gone = end.cut.then((reason) => `the connection to ${host.name} was lost (${reason})`);
  const late = spent.promise.then(() => `${host.name} did not tell whether it started the command`);
  const lost = await Promise.race([gone, late, end.closed.then(() => undefined)]);
  if (lost === undefined) {
    // What a shell says of our script, once that has begun, may have a variable's value in it.
    const said = pid ? "the script that starts it did not come to its end" : outputs.noise();
    return { ...never(`${host.name} did not start the command${said ? `: ${said}` : ""}`), sent: true };
  }
  channel.close();
  return { command: settledAfter(afterLoss(host, tree, lost)), sent: true, leader, directory: undefined };
}

/** Undefined once the shell is there. */
async function whyNotReady(
  host: HostSessions,
  outputs: Outputs,
  end: ChannelEnd,
  cancelled: AbortSignal,
): Promise<string | undefined> {
  const late = AbortSignal.timeout(host.startMs);
  const over = Promise.race([end.cut, end.closed]);
  const ready = Promise.race([outputs.ready, over.then(() => false)]);
  try {
    if (await unless(AbortSignal.any([cancelled, late]), ready)) return undefined;
    const cut = await unless(AbortSignal.any([cancelled, late]), over);
    if (cut !== undefined) return `the connection to ${host.name} was lost (${cut}) before the command was started`;
  } catch {
    if (cancelled.aborted) return CANCELLED;
  }
  const said = outputs.noise();
  return `${host.name} did not start the command${late.aborted ? ` within ${host.startMs / 1000} s` : ""}${said ? `: ${said}` : ""}`;
}

const CANCELLED = "the job was cancelled before it was started";
const NEVER = { leader: undefined, directory: undefined };

const never = (message: string): Started => ({
  ...NEVER,
  sent: false,
  command: notStarted({ stage: "host", code: null, message }),
});

function discard({ stdout, stderr }: Outputs): void {
  stdout.resume();
  stderr.resume();
}

/** Nobody knows whether it was started; what is found of it is ended. */
const settledAfter = (loss: Promise<Loss>): RunningCommand => ({
  ...settledAtOnce({ kind: "lost", message: "", heldOpen: false }),
  settled: loss.then(({ how }) => ({ ...how, heldOpen: false })),
  kill: () => loss.then(({ ending }) => ending),
});

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
  let lost: Promise<Loss> | undefined;
  const signals = new Set<SignalName>();
  let sending: Promise<void> = Promise.resolve();
  const stdin = wantsStdin ? stdinOf(channel, end) : undefined;
  const loss = async (why: string): Promise<Settled> => {
    lost ??= afterLoss(host, tree, `the connection to ${host.name} was lost (${why})`);
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
        return (await lost)?.ending ?? unknownEnding(host);
      }
    }
    return over ? NOTHING_ENDED : unknownEnding(host);
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
      killing ??= over ? (lost?.then(({ ending }) => ending) ?? Promise.resolve(NOTHING_ENDED)) : endNow(graceMs);
      return killing;
    },
    killNow() {
      if (!over) void endNow(0);
    },
  };
}

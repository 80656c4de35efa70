// One command on a host: started by a script on a channel of its own, told by the channel's close and nothing before, and
// ended, with all that it started, by scripts on others. ssh.ts starts them.

import { constants } from "node:os";
import { Writable } from "node:stream";
import { setTimeout as delay } from "node:timers/promises";
import type { ClientChannel } from "ssh2";
import type { Ending, SignalName } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import type { Ended, RunningCommand, Settled } from "../backend.ts";
import { Refused } from "../backend.ts";
import { NOTHING_ENDED, notStarted, settledAtOnce } from "../not-started.ts";
import { type Outputs, outputsOf } from "./outputs.ts";
import { refusalOf } from "./refusal.ts";
import { endTree, newNonce, runScript } from "./remote.ts";
import { asLine, BOOTSTRAP, type Launch, type Leader, launchScript, signalScript, type Tree } from "./script.ts";
import type { HostSessions, Session } from "./sessions.ts";

/** Outputs that an ended tree held are read for as long as something comes, and this much longer. */
const LAST_WORDS_MS = 250;
const DRAIN_TICK_MS = 50;
/** What of a command's own output may be on its way when its exit is told: a pipe, the server's and our own buffers. */
const UNDER_WAY_BYTES = 8 * 1024 * 1024;

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

interface ChannelEnd {
  /** What the server told, which is often before the last output. */
  readonly told: Promise<Ended>;
  /** The channel was closed, by the server or with its connection, and its outputs were read. */
  readonly closed: Promise<void>;
  /** The connection went away before the end of the outputs, or before the exit: why. Otherwise it never resolves. */
  readonly cut: Promise<string>;
  /** By then. */
  isCut(): boolean;
}

function endOf({ channel, client, gone }: Session): ChannelEnd {
  const told = Promise.withResolvers<Ended>();
  const cut = Promise.withResolvers<string>();
  const closed = new Promise<void>((resolve) => channel.once("close", () => resolve()));
  let isCut = false;
  let exited = false;
  channel.once("exit", (code: number | null, signal?: string) => {
    exited = true;
    told.resolve(endedBy(code, signal));
  });
  const onGone = (): void => {
    // Its end came before the connection went: everything is here, or waits for its reader.
    const { incoming } = channel as unknown as { incoming: { state: string } };
    if (exited && incoming.state !== "open") return;
    isCut = true;
    void gone.then(cut.resolve);
  };
  client.once("close", onGone);
  void closed.then(() => client.off("close", onGone));
  return { told: told.promise, closed, cut: cut.promise, isCut: () => isCut };
}

/** OpenSSH names the thirteen signals of RFC 4254 and no other one; a shell's code for "a signal" says more than nothing. */
function endedBy(code: number | null, signal: string | undefined): Ended {
  if (signal === undefined) return { kind: "exited", code: (code ?? 255) & 255 };
  const name = signal.replace(/^SIG/, "");
  if (`SIG${name}` in constants.signals) return { kind: "signaled", signal: name as SignalName };
  return { kind: "exited", code: 255, ambiguous: true };
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
  const end_ = async (graceMs: number): Promise<Ending> => {
    try {
      return (await endTree(host, tree, graceMs)).ending;
    } catch {
      // Where the connection was lost, what comes after that tells.
      return (await lost)?.ending ?? NOTHING_ENDED;
    }
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
      killing ??= over ? Promise.resolve(NOTHING_ENDED) : end_(graceMs);
      return killing;
    },
    killNow() {
      if (!over) void end_(0);
    },
  };
}

/** Errors never leave it, and a command that is gone takes nothing and holds nobody up. */
function stdinOf(channel: ClientChannel, end: ChannelEnd): Writable {
  let pending: (() => void) | undefined;
  let gone = false;
  const stdin = new Writable({
    write(bytes: Buffer, _encoding, done) {
      if (gone) return done();
      pending = () => {
        pending = undefined;
        done();
      };
      const mine = pending;
      // Called once the server's window took it; never, where the channel is closed before.
      channel.write(bytes, () => {
        if (pending === mine) mine();
      });
    },
    final(done) {
      if (!gone) channel.end();
      done();
    },
  });
  stdin.on("error", () => {});
  const leave = (): void => {
    gone = true;
    pending?.();
    stdin.destroy();
  };
  void end.told.then(leave);
  void end.closed.then(leave);
  void end.cut.then(leave);
  return stdin;
}

/**
 * After the exit was told: to the end of the outputs, or until they were quiet for a while although they were being read;
 * then something that it started holds them, and is ended. True where that was so.
 */
async function drain(
  host: HostSessions,
  channel: ClientChannel,
  outputs: Outputs,
  end: ChannelEnd,
  tree: Tree,
  killing: () => Promise<unknown> | undefined,
): Promise<boolean> {
  const over = Promise.race([Promise.all([end.closed, outputs.ended]), end.cut]).then(() => true as const);
  const atExit = outputs.received();
  let before = -1;
  for (let quiet = 0, open = 0; quiet < limits.drainQuietMs && open < limits.drainMaximumMs; ) {
    if (await Promise.race([over, delay(DRAIN_TICK_MS, false)])) return false;
    const kill = killing();
    if (kill) {
      // What holds them open has the grace that was given to all.
      if (await Promise.race([over, kill.then(() => false)])) return false;
      break;
    }
    const waiting = outputs.waiting();
    if (waiting && outputs.received() - atExit <= UNDER_WAY_BYTES) {
      quiet = 0;
      continue;
    }
    quiet = outputs.received() === before && !waiting ? quiet + DRAIN_TICK_MS : 0;
    open += DRAIN_TICK_MS;
    before = outputs.received();
  }
  // The answer comes behind whatever of its output the network held up: then nobody held it open.
  const ended = await endTree(host, tree, 0).catch(() => undefined);
  for (let quiet = 0; quiet < LAST_WORDS_MS; quiet += DRAIN_TICK_MS) {
    if (await Promise.race([over, delay(DRAIN_TICK_MS, false)])) return (ended?.ending.ended.length ?? 1) > 0;
    if (outputs.received() !== before || outputs.waiting()) quiet = 0;
    before = outputs.received();
  }
  channel.close();
  await Promise.race([end.closed, end.cut, delay(limits.closeMs)]);
  outputs.finish();
  return true;
}

/** The connection is gone: the host is looked for again, for a while, so that nothing goes on there unseen. */
async function afterLoss(
  host: HostSessions,
  tree: Tree,
  why: string,
): Promise<{ readonly how: Ended; readonly ending: Ending }> {
  const givesUp = performance.now() + host.reconnectMs;
  const message = `the connection to ${host.name} was lost (${why})`;
  for (;;) {
    const left = givesUp - performance.now();
    if (left <= 0 || host.closed()) break;
    const waited = new AbortController();
    const ended = await Promise.race([
      endTree(host, tree, 0).catch(() => undefined),
      delay(left, undefined, { signal: waited.signal }).catch(() => undefined),
    ]);
    waited.abort();
    if (ended) {
      const { survivors } = ended.ending;
      const outcome =
        survivors.length > 0
          ? `${survivors.length} of what it ran there could not be ended`
          : "what it ran there was ended";
      return { how: { kind: "lost", message: `${message}; ${outcome}` }, ending: ended.ending };
    }
    await delay(Math.min(limits.sshRetryMs, Math.max(0, givesUp - performance.now())));
  }
  const seconds = host.reconnectMs / 1000;
  return {
    how: {
      kind: "lost",
      message: `${message} and could not be made again within ${seconds} s; what it ran there may still run`,
    },
    ending: NOTHING_ENDED,
  };
}

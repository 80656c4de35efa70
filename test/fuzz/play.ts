// One fuzz run: a real runner (front and keeper) is sent what a seed draws, over real connections, by a peer that it
// trusts and by a stranger; and a coordinator's attempts meet a runner that answers with what a seed draws. A peer that
// means well calls all the time; afterwards nothing may be left.
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { startAttempt } from "../../coordinator/attempt.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { ChunkDecoder, encodeControl } from "../../protocol/chunk.ts";
import { EnvelopeReader, encodeEnvelope } from "../../protocol/envelope.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import type { AttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { startNode } from "../../protocol/node.ts";
import { Random } from "../chaos/random.ts";
import { jobOf, rawNode, type TestPeer, testPeer } from "../rig/hostile.ts";
import { isRunning, openFilesOf, processesOf, residentBytesOf } from "../rig/processes.ts";
import { portOf } from "../rig/proxy.ts";
import { Rig, type RunnerProcess, until } from "../rig/rig.ts";
import { Figures } from "./figures.ts";
import { chunkOf, envelopeOf, garbage, mutated, operationIds, pieces, requestOf } from "./generate.ts";

const AT_ONCE = 8;
/** An honest call that takes longer hangs: the machine may have little to spare, and the fuzz takes all of one core. */
const HANGS_MS = 15_000;
const CASE_MS = 1_500;
const MiB = 1024 * 1024;
const MOST_GROWTH = { front: 300 * MiB, keeper: 200 * MiB };
/** Connections that are just closing, and what Node opens by itself. */
const SPARE_DESCRIPTORS = 12;

export interface FuzzOptions {
  readonly seed: number;
  readonly seconds: number;
  readonly say: (line: string) => void;
}

interface Site {
  readonly random: Random;
  readonly figures: Figures;
  readonly runner: RunnerProcess;
  readonly mallory: TestPeer;
  readonly stranger: TestPeer;
  readonly known: string[];
  readonly folder: string;
}

export async function fuzz({ seed, seconds, say }: FuzzOptions): Promise<Figures> {
  const figures = new Figures();
  const unhandled = (reason: unknown): void => figures.problem(`unhandled here: ${(reason as Error)?.stack ?? reason}`);
  process.on("unhandledRejection", unhandled);
  const rig = new Rig();
  try {
    const args = ["-A", "--slots", "6", "--lease", "1s", "--journal-size", "2MiB", "--journal-total", "64MiB"];
    const runner = await rig.startRunner("w1", args);
    const [mallory, honest, stranger] = await Promise.all([
      testPeer(runner, rig.folder, "mallory"),
      testPeer(runner, rig.folder, "honest"),
      testPeer(runner, rig.folder, "stranger", true),
    ]);
    const theirs = jobOf("sleep 1000.7");
    const session = await honest.run(theirs);
    await execute(honest);
    const before = held(runner);
    const known: string[] = [theirs.attemptId];
    const site: Site = { random: new Random(seed), figures, runner, mallory, stranger, known, folder: rig.folder };
    const until = performance.now() + seconds * 1_000;
    const calling = callHonestly(honest, figures, until);
    const liar = await lyingRunner(site);
    let told = performance.now();
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        while (performance.now() < until && runner.child.exitCode === null) {
          await oneCase(site, liar);
          if (performance.now() - told < 10_000) continue;
          told = performance.now();
          const { front, keeper } = held(runner);
          say(`${figures.total} cases; front ${mib(front.bytes)}, keeper ${mib(keeper.bytes)}`);
        }
      }),
    );
    await calling;
    await liar.stop();
    await settle(site, honest, theirs.attemptId, before);
    session.abort(new Error("It is over."));
    await Promise.all([mallory.stop(), honest.stop(), stranger.stop()]);
    const end = await runner.stop();
    if (end.code !== 0) figures.problem(`the runner ended with ${end.code ?? end.signal}: ${end.stderr.slice(-2_000)}`);
    complain(figures, "the runner", runner.stderr());
    complain(figures, "the keeper", readFileSync(join(runner.home, "runner", "keeper", "keeper.log"), "utf8"));
  } finally {
    await rig[Symbol.asyncDispose]().catch((error: unknown) => figures.problem(String(error)));
    process.off("unhandledRejection", unhandled);
  }
  return figures;
}

/** Whatever is a bug says so: in a stack, or by its code. */
function complain(figures: Figures, who: string, said: string): void {
  const line = /^.*(unhandled|INTERNAL|TypeError|RangeError|ReferenceError|\bat \S+ \(.*:\d+\)).*$/im.exec(said);
  if (line) figures.problem(`${who} said: ${line[0].slice(0, 500)}`);
}

async function oneCase(site: Site, liar: Liar): Promise<void> {
  const { random, figures } = site;
  const kinds = { call: 45, session: 25, lie: 12, pair: 5, socket: 8, frames: 5 } as const;
  let drawn = random.between(1, 100);
  const kind = (Object.keys(kinds) as (keyof typeof kinds)[]).find((name) => (drawn -= kinds[name]) <= 0) ?? "call";
  figures.tried(kind);
  const cases = { call, session, pair, socket, frames, lie: () => liar.meet(site) };
  try {
    await within(cases[kind](site), CASE_MS * 4, kind);
  } catch (error) {
    const { code } = error as SortieError;
    if (code === "INTERNAL" || code === undefined) figures.problem(`${kind}: ${(error as Error).stack}`);
  }
}

/** Sends the bytes in pieces, and may leave in the middle. False where it left. */
async function send(random: Random, channel: ByteChannel, bytes: Buffer): Promise<boolean> {
  for (const piece of pieces(random, bytes)) {
    await channel.write(piece);
    if (!random.chance(1)) continue;
    channel.abort(new Error("left in the middle"));
    return false;
  }
  return true;
}

async function call({ random, figures, mallory, known }: Site): Promise<void> {
  const id = random.pick(operationIds);
  const channel = await mallory.open();
  try {
    if (!(await send(random, channel, envelopeOf(random, requestOf(random, id, known)))))
      return figures.answered(id, "ended");
    if (random.chance(30)) await channel.close();
    const answer = await within(new EnvelopeReader(channel).next(), CASE_MS, "an answer").catch(() => undefined);
    if (answer?.type === "call.error") {
      figures.answered(id, "refused", answer.payload.code);
      if (answer.payload.code === "INTERNAL") figures.problem(`${id}: INTERNAL`);
    } else figures.answered(id, answer?.type === "call.responded" ? "accepted" : "ended");
  } catch {
    figures.answered(id, "ended");
  } finally {
    channel.abort(new Error("It is over."));
  }
}

/** A job that is taken, and what comes over its carriage then. */
async function session({ random, figures, mallory, known }: Site): Promise<void> {
  const request = jobOf(random.pick(["cat", "echo x; sleep 0.31", "head -c 2000000 /dev/zero", "true"]), {
    stdin: random.chance(70),
    leaseMs: 1_000,
  });
  const isNew = known.length < 3 || random.chance(60);
  const attemptId = (isNew ? request.attemptId : random.pick(known)) as AttemptId;
  const control = random.chance(70);
  const taken = isNew
    ? mallory.run(request, random.between(limits.windowMinimum, limits.windowMaximum))
    : mallory.attach(attemptId, { control });
  const carriage = await taken.catch((error: SortieError) => {
    figures.answered(isNew ? "/job/run" : "/job/attach", "refused", error.code);
  });
  if (!carriage) return;
  figures.answered(isNew ? "/job/run" : "/job/attach", "accepted");
  if (isNew) known.push(request.attemptId);
  if (known.length > 40) known.splice(1, 20);
  const reading = random.chance(60) ? drain(carriage, random.chance(50)) : undefined;
  try {
    for (let count = random.between(0, 8); count > 0; count--)
      if (!(await within(send(random, carriage, chunkOf(random)), CASE_MS, "a write"))) return;
    if (random.chance(40)) await carriage.close();
    await within(reading ?? delay(random.between(0, 50)), random.between(1, 300), "its end").catch(() => {});
  } catch {
    // It was ended: that is what should happen.
  } finally {
    carriage.abort(new Error("It is over."));
  }
}

/** Reads to the end; acknowledges, or does not. */
async function drain(carriage: ByteChannel, acknowledges: boolean): Promise<void> {
  let offset = 0;
  try {
    for (let bytes = await carriage.read(); bytes; bytes = await carriage.read()) {
      offset += bytes.length;
      if (acknowledges) await carriage.write(encodeControl({ type: "ack", offset }));
    }
  } catch {
    // Somebody left.
  }
}

async function pair({ random, figures, stranger, mallory }: Site): Promise<void> {
  const peer = random.chance(70) ? stranger : mallory;
  const channel = await peer.open("/sortie/pair/1").catch(() => undefined);
  figures.answered("/sortie/pair/1", channel ? "accepted" : "refused");
  if (!channel) return;
  try {
    const hello = { type: "hello", invite: "x", nonce: "00", name: "mallory", addresses: [], proof: "00" };
    const text = JSON.stringify(mutated(random, hello, random.between(0, 3)));
    await send(random, channel, random.chance(70) ? envelopeOf(random, text) : garbage(random));
    await within(channel.read(), 200, "an answer").catch(() => {});
  } catch {
    // It was ended.
  } finally {
    channel.abort(new Error("It is over."));
  }
}

/** Bytes of somebody who has not said who it is. */
async function socket({ random, runner }: Site): Promise<void> {
  await new Promise<void>((resolve) => {
    const end = (): void => void socket.destroy();
    const socket = connect(portOf(runner.address), "127.0.0.1", () => {
      socket.write(garbage(random));
      if (random.chance(30)) socket.end();
      setTimeout(end, random.between(0, 300));
    });
    socket.resume();
    socket.on("error", () => {});
    socket.on("close", () => resolve());
  });
}

/** Frames of the muxer, below any stream: a trusted peer's connection that goes wrong. */
async function frames(site: Site): Promise<void> {
  const { random, figures, mallory } = site;
  // A handshake has three seconds, and all of this keeps the runner busy. Whether it hangs is what honest calls tell.
  const node = await rawNode(site.runner, mallory.identity).catch(() => {});
  figures.answered("(frames)", node ? "accepted" : "refused");
  if (!node) return;
  try {
    const [connection] = node.getConnections();
    const { muxer } = connection as unknown as { muxer: { send(bytes: Uint8Array): void } };
    for (let count = random.between(1, 30); count > 0 && connection?.status === "open"; count--) {
      const body = Buffer.alloc(random.pick([0, 0, 10, 1_000, 60_000]));
      const head = Buffer.alloc(12);
      head[0] = random.chance(95) ? 0 : random.between(0, 255);
      head[1] = random.chance(90) ? random.between(0, 3) : random.between(0, 255);
      head.writeUInt16BE(random.chance(90) ? random.pick([0, 1, 2, 4, 8]) : random.between(0, 65_535), 2);
      head.writeUInt32BE(random.pick([0, 1, 2, 3, 101, 103, 0xffff_fffe]), 4);
      head.writeUInt32BE(random.chance(80) ? body.length : random.pick([0, 0xffff_ffff, 2 ** 24 + 1]), 8);
      const frame = Buffer.concat([head, body]);
      muxer.send(random.chance(5) ? Buffer.concat(Array.from({ length: 2_000 }, () => frame.subarray(0, 12))) : frame);
      await delay(random.between(0, 5));
    }
  } catch {
    // The other side ended it.
  } finally {
    await node.stop();
  }
}

interface Liar {
  meet(site: Site): Promise<void>;
  stop(): Promise<void>;
}

/** A runner that answers what a seed draws, and a coordinator's attempts on it, in this process. */
async function lyingRunner({ random, folder }: Site): Promise<Liar> {
  const lie = async (channel: ByteChannel): Promise<void> => {
    const request = await new EnvelopeReader(channel).next();
    const { attemptId } = ((request?.type === "call.requested" && request.payload.input) || {}) as {
      attemptId?: string;
    };
    const output = {
      attemptId: attemptId ?? "000000000000",
      offset: 0,
      missing: { stdout: 0, stderr: 0 },
      end: 0,
      stdin: 0,
    };
    const answer = {
      type: "call.responded",
      id: "1",
      payload: { output: attemptId ? output : { attemptId: output.attemptId } },
    } as const;
    await channel.write(
      random.chance(70) ? encodeEnvelope(answer) : envelopeOf(random, JSON.stringify(mutated(random, answer, 2))),
    );
    for (let count = random.between(0, 12); count > 0; count--)
      if (!(await send(random, channel, chunkOf(random)))) return;
    // Now and then it keeps to the protocol to the end.
    const tally = { stdout: 0, stderr: 0 };
    const exit = { type: "exit", reason: "exited", code: 0, bytes: tally, hash: new OutputTally().hash() } as const;
    if (random.chance(50)) await channel.write(encodeControl(exit));
    if (random.chance(70)) await channel.close();
  };
  const identity = await loadIdentity(`${folder}/liar`);
  const mine = await loadIdentity(`${folder}/liar-coordinator`);
  const common = { trusts: () => true, pairingOpen: () => false };
  const liar = await startNode({
    ...common,
    identity,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    onCall: (channel) => within(lie(channel), CASE_MS, "a lie").catch(() => channel.abort(new Error("It is over."))),
  });
  const node = await startNode({ ...common, identity: mine, listen: [] });
  return {
    async meet({ figures }) {
      const request = jobOf("true");
      const link = {
        id: liar.peer,
        name: "liar",
        open: () => node.open(liar.peer, liar.addresses(), "/sortie/call/1"),
      };
      const starting = startAttempt({
        link,
        attemptId: request.attemptId,
        request,
        reconnectMs: 300,
        sink: { store() {}, output() {} },
        stdin: undefined,
      });
      const attempt = await within(starting, CASE_MS * 2, "an attempt").catch((error: SortieError) => {
        figures.answered("(a lying runner)", "refused", error.code);
      });
      // One that is taken later has an end as well.
      if (!attempt) void starting.then(({ end }) => end).catch(() => {});
      if (!attempt) return;
      const ended = await within(attempt.end, CASE_MS * 2, "its end").then(
        () => "ended" as const,
        (error: SortieError) => error,
      );
      attempt.abandon(new Error("It is over."));
      await attempt.end.catch(() => {});
      if (ended === "ended") figures.answered("(a lying runner)", "accepted");
      else figures.answered("(a lying runner)", "refused", ended.code);
      if (ended !== "ended" && ended.code === "INTERNAL") throw ended;
    },
    async stop() {
      await Promise.all([liar.stop(), node.stop()]);
    },
  };
}

/** Runs a job to its end, and holds its output to what it wrote. */
async function execute(peer: TestPeer): Promise<void> {
  const carriage = await peer.run(jobOf("echo honest"));
  const decoder = new ChunkDecoder();
  let text = "";
  let exit: unknown;
  while (!exit) {
    const bytes = await carriage.read();
    if (!bytes) throw new Error("no exit");
    for (const part of decoder.push(bytes))
      if (part.kind === "data") text += Buffer.from(part.payload).toString();
      else if ((part.json as { type: string }).type === "exit") exit = part.json;
  }
  await carriage.write(encodeControl({ type: "ack", offset: decoder.offset }));
  await carriage.close();
  if (text !== "honest\n" || (exit as { code: number }).code !== 0) throw new Error(`${text} ${JSON.stringify(exit)}`);
}

async function callHonestly(honest: TestPeer, figures: Figures, end: number): Promise<void> {
  for (let count = 0; performance.now() < end; count++) {
    const began = performance.now();
    try {
      const call: Promise<unknown> = count % 10 === 0 ? execute(honest) : honest.json("/runner/info", {});
      await within(call, HANGS_MS, "an honest call");
      figures.honest++;
    } catch (error) {
      // Slots are everybody's: a fuzz that holds them all is no hang.
      if ((error as SortieError).code !== "RUNNER_FULL") figures.problem(`an honest call: ${(error as Error).message}`);
    }
    figures.slowestMs = Math.max(figures.slowestMs, performance.now() - began);
    await delay(50);
  }
}

/** Ends what the attacker left, and looks at what is left then. */
async function settle(site: Site, honest: TestPeer, theirs: string, before: Held): Promise<void> {
  const { mallory, figures, runner, folder } = site;
  const running = async () => (await mallory.json("/job/list", {})).jobs.filter((job) => job.running);
  const cancelled = new Set<AttemptId>();
  const endAll = async () => {
    const jobs = await running();
    // Also one that a case which took too long has begun just now.
    for (const { attemptId } of jobs.filter((job) => !cancelled.has(job.attemptId))) {
      const carriage = await mallory.attach(attemptId, { control: true }).catch(() => undefined);
      const written = carriage
        ?.write(encodeControl({ type: "cancel", by: "user" }))
        .then(() => cancelled.add(attemptId));
      await written?.catch(() => {});
    }
    return jobs;
  };
  const left = await until(endAll, (jobs) => jobs.length === 0);
  if (left.length > 0) figures.problem(`${left.length} jobs still run: ${JSON.stringify(left[0])}`);
  const { jobs } = await honest.json("/job/list", {});
  if (!jobs.find((job) => job.attemptId === theirs)?.running) figures.problem("the honest peer's job was ended");
  const carriage = await honest.attach(theirs as AttemptId, { control: true });
  await carriage.write(encodeControl({ type: "cancel", by: "user" }));
  await until(
    async () => (await honest.json("/runner/info", {})).busy,
    (busy) => busy === 0,
  );
  carriage.abort(new Error("It is over."));
  await mallory.stop();
  const open = await until(
    () => held(runner),
    ({ front, keeper }) =>
      front.open <= before.front.open + SPARE_DESCRIPTORS && keeper.open <= before.keeper.open + SPARE_DESCRIPTORS,
  );
  for (const who of ["front", "keeper"] as const) {
    const grown = open[who].bytes - before[who].bytes;
    figures.notes.push(
      `${who}: ${before[who].open} descriptors before, ${open[who].open} after; ${mib(before[who].bytes)} before, ${mib(open[who].bytes)} after`,
    );
    if (open[who].open > before[who].open + SPARE_DESCRIPTORS) figures.problem(`the ${who} leaks descriptors`);
    if (grown > MOST_GROWTH[who]) figures.problem(`the ${who} grew by ${mib(grown)}`);
  }
  // A job's directory is removed once its exit is told.
  const work = await until(
    () => readdirSync(join(runner.home, "runner", "keeper", "work")),
    (names) => names.length === 0,
  );
  if (work.length > 0) figures.problem(`jobs' directories were left: ${work.join(", ")}`);
  const processes = await until(
    () => processesOf(folder),
    (pids) => pids.length === 2,
  );
  if (processes.length !== 2) figures.problem(`${processes.length} processes, not the front and the keeper alone`);
}

interface Held {
  readonly front: { readonly open: number; readonly bytes: number };
  readonly keeper: { readonly open: number; readonly bytes: number };
}

/** Open descriptors and resident memory, of the runner's two processes. */
function held(runner: RunnerProcess): Held {
  const of = (pid: number) => ({
    open: openFilesOf(pid).length,
    bytes: residentBytesOf(pid),
  });
  // By its lock: what it starts has its folder in its environment, or as its own.
  const keeper = Number.parseInt(readFileSync(join(runner.home, "runner", "keeper", "lock"), "latin1"), 10);
  if (!isRunning(keeper)) throw new Error("the keeper is gone");
  return { front: of(runner.pid), keeper: of(keeper) };
}

const mib = (bytes: number): string => `${Math.round(bytes / MiB)} MiB`;

function within<T>(promise: Promise<T>, milliseconds: number, what: string): Promise<T> {
  return new Promise((resolve, reject) => {
    const late = setTimeout(
      () => reject(Object.assign(new Error(`${what} did not come`), { code: "LATE" })),
      milliseconds,
    );
    promise.then(resolve, reject).finally(() => clearTimeout(late));
  });
}

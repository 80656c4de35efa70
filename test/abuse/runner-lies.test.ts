// A paired runner that lies about its jobs: a coordinator stays alive, says what was wrong, exits with 3 for it, and its
// other jobs go on. The liar is a peer in this process that speaks the protocol by hand; one run meets all its lies.
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import { openFleet } from "../../coordinator/fleet.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { CONTROL, STDERR, STDIN, STDOUT } from "../../protocol/chunk.ts";
import { EnvelopeReader, encodeEnvelope } from "../../protocol/envelope.ts";
import { SortieError } from "../../protocol/errors.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { type Node, startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { chunk, jobOf } from "../rig/hostile.ts";
import { type Ended, Rig, until } from "../rig/rig.ts";
import { attack } from "./attack.ts";

const rig = new Rig();
let liar: Node;
let ended: Ended;
let shown: { jobs: { name: string; outcome: string; attempts: { message?: string; gap?: string }[] }[] };

const json = (message: object): Buffer => chunk(CONTROL, JSON.stringify(message));
const started = (attemptId: string): Buffer => json({ type: "started", at: 1, attemptId });
const whole = new OutputTally().hash();
const exit = (more: object = {}): Buffer =>
  json({ type: "exit", reason: "exited", code: 0, bytes: { stdout: 0, stderr: 0 }, hash: whole, ...more });

/** By the name of the job: what the liar sends after `started`, and what a person is told of it. */
const lies: Record<string, { readonly says: string; readonly bytes: () => Buffer; readonly told: RegExp }> = {
  stream: { says: "a chunk of a ninth stream", bytes: () => chunk(9, "x"), told: /a chunk on stream 9/ },
  oversize: {
    says: "a chunk of four gibibytes",
    bytes: () => chunk(STDOUT, "", 0xffff_ffff),
    told: /a chunk of 4294967295 bytes/,
  },
  stdin: { says: "stdin", bytes: () => chunk(STDIN, "x"), told: /a chunk of stdin/ },
  control: {
    says: "control that is none",
    bytes: () => json({ type: "cancel", by: "user" }),
    told: /not one of Sortie's/,
  },
  text: { says: "control that is not JSON", bytes: () => chunk(CONTROL, "{]"), told: /not plain JSON/ },
  twice: {
    says: "two keys of one name",
    bytes: () => chunk(CONTROL, '{"type":"mark","at":1,"at":2}'),
    told: /not plain JSON/,
  },
  longest: {
    says: "a control chunk of a mebibyte",
    bytes: () => chunk(CONTROL, "", 1024 * 1024),
    told: /at most 65536/,
  },
  never: { says: "a time that is no date", bytes: () => json({ type: "mark", at: 1e17 }), told: /not one of Sortie's/ },
  absurd: {
    says: "an exit with counts beyond number",
    bytes: () => exit({ bytes: { stdout: 1e300, stderr: 0 } }),
    told: /not one of Sortie's/,
  },
  again: { says: "that it started twice", bytes: () => started("000000000000"), told: /started the attempt twice/ },
  exits: { says: "its exit twice", bytes: () => Buffer.concat([exit(), exit()]), told: /more after the exit/ },
  after: {
    says: "output after its exit",
    bytes: () => Buffer.concat([exit(), chunk(STDERR, "late")]),
    told: /more after the exit/,
  },
  part: {
    says: "a part of a chunk after its exit",
    bytes: () => Buffer.concat([exit(), chunk(STDERR, "late").subarray(0, 3)]),
    told: /more after the exit/,
  },
  hash: {
    says: "other output than the hash of its exit",
    bytes: () => Buffer.concat([chunk(STDOUT, "forged"), exit({ bytes: { stdout: 6, stderr: 0 } })]),
    told: /is not what the runner journaled/,
  },
};

async function lie(channel: ByteChannel): Promise<void> {
  const request = await new EnvelopeReader(channel).next();
  if (request?.type !== "call.requested") return;
  const { id, payload } = request;
  const respond = (output: unknown) =>
    channel.write(encodeEnvelope({ type: "call.responded", id, payload: { output } }));
  const input = payload.input as { request?: { attemptId: string; job: string }; attemptId?: string; offset: number };
  if (payload.operationId === "/runner/info") {
    await respond({ name: "liar", version: "\u001b]0;FORGED\u0007", labels: {}, slots: 100, busy: 0, draining: false });
    await channel.write(encodeEnvelope({ type: "call.completed", id, payload: {} }));
    return channel.close();
  }
  if (payload.operationId === "/job/attach") {
    // Of a job that it takes and leaves, for ever.
    attaches.push(performance.now());
    await respond({
      attemptId: input.attemptId,
      offset: input.offset,
      missing: { stdout: 0, stderr: 0 },
      end: 0,
      stdin: 0,
    });
    return channel.close();
  }
  const { attemptId, job } = input.request ?? { attemptId: "", job: "" };
  if (job === "silent") return;
  await respond({ attemptId });
  await channel.write(started(attemptId));
  if (job === "leaves") return channel.close();
  if (job === "floods") return flood(channel);
  await channel.write(lies[job]?.bytes() ?? Buffer.alloc(0));
  if (job !== "exits") await delay(20);
}

const attaches: number[] = [];

/** As fast as the network takes it, whatever was acknowledged. */
async function flood(channel: ByteChannel): Promise<void> {
  const piece = chunk(STDOUT, Buffer.alloc(256 * 1024));
  while (!channel.lost.aborted) await channel.write(piece);
}

beforeAll(async () => {
  liar = await startNode({
    identity: await loadIdentity(`${rig.folder}/liar`),
    listen: ["/ip4/127.0.0.1/tcp/0"],
    trusts: () => true,
    pairingOpen: () => false,
    onCall: (channel) => lie(channel).catch(() => {}),
  });
  await rig.pairedRunner("w1");
  openTrust(`${rig.home}/coordinator`).pin(liar.peer, "liar", liar.addresses());
  const jobs = Object.keys(lies).map((name) => `${name}: job({ on: { runner: "liar" }, run: "true" })`);
  const recipe = rig.recipe(`import { job, recipe } from "sortie";
    export default recipe({ honest: job({ on: { runner: "w1" }, run: "echo honest" }), ${jobs.join(", ")} });`);
  ended = await rig.coordinator(["run", recipe, "--format", "plain"]);
  shown = JSON.parse((await rig.coordinator(["show", "last", "--json"])).text);
}, 60_000);

afterAll(async () => {
  await liar?.stop();
  await rig[Symbol.asyncDispose]();
}, 60_000);

describe("a run with jobs on a runner that lies", () => {
  for (const [name, { says, told }] of Object.entries(lies))
    attack(`the runner sends ${says}`, "the job is lost, and why is told", () => {
      const job = shown.jobs.find((one) => one.name === name);
      expect(job?.outcome).toBe("lost");
      const line = ended.text.split("\n").findLast((text) => text.startsWith(`${name} `));
      expect(line).toMatch(told);
    });

  attack("a runner lies about all jobs but one", "exit code 3, and the honest job passed", () => {
    expect(ended.code).toBe(3);
    expect(ended.text).toContain("│ honest");
    expect(shown.jobs.find(({ name }) => name === "honest")?.outcome).toBe("passed");
    expect(ended.text).not.toContain("\u001b");
  });

  attack("a runner calls itself what acts on a terminal", "it is not shown", async () => {
    const { text } = await rig.coordinator(["runners"]);
    expect(text).toContain("liar");
    expect(text).not.toContain("FORGED");
  });
});

describe("a job on a runner that lies", () => {
  async function attempt(job: string, reconnectMs: number) {
    const fleet = openFleet(`${rig.home}/coordinator`);
    const [pin] = fleet.trust.list().filter(({ name }) => name === "liar");
    if (!pin) throw new Error("no liar");
    let bytes = 0;
    const request = jobOf("true", { job: job as never });
    const running = startAttempt({
      link: fleet.link(pin),
      attemptId: request.attemptId,
      request,
      reconnectMs,
      sink: {
        store() {},
        output: async (_stream, { length }) => {
          bytes += length;
          await delay(1);
        },
      },
    });
    return { running, fleet, bytes: () => bytes };
  }

  attack("the runner ends every connection at once", "it is looked for with pauses, and then given up", async () => {
    attaches.splice(0);
    const patient = await attempt("leaves", 60_000);
    const looking = await patient.running;
    const left = looking.end.then(String, (error: SortieError) => error.code);
    await until(
      () => attaches.length,
      (count) => count >= 4,
    );
    looking.abandon(new SortieError("INTERRUPTED", "It is known."));
    expect(await left).toBe("INTERRUPTED");
    // Each is twice as long as the one before, give or take a half.
    const pauses = attaches.slice(1, 4).map((at, index) => at - (attaches[index] as number));
    for (const [index, pause] of pauses.entries())
      expect(pause).toBeGreaterThan(limits.reconnectFirstMs * 2 ** index * 0.4);
    await patient.fleet.close();
    const { running, fleet } = await attempt("leaves", 800);
    const told = await (await running).end.then(String, (error: SortieError) => error.code);
    expect(told).toBe("CONNECTION_LOST");
    await fleet.close();
  });

  attack("the runner sends without an end, and heeds no window", "memory stays, or the stream ends", async () => {
    const before = process.memoryUsage().rss;
    const { running, fleet, bytes } = await attempt("floods", 1_000);
    const started = await running;
    const over = started.end.then(String, (error: SortieError) => error.code);
    await Promise.race([over, until(bytes, (count) => count > 0)]);
    await Promise.race([over, delay(800)]);
    expect(process.memoryUsage().rss - before).toBeLessThan(128 * 1024 * 1024);
    started.abandon(new Error("It is known."));
    expect(await over).toMatch(/CHANNEL_FLOODED|INTERNAL/);
    expect(bytes()).toBeGreaterThan(0);
    await fleet.close();
  });

  attack("the runner takes a call, and never answers", "TIMEOUT", async () => {
    const { answerWithin } = await import("../../coordinator/answer-within.ts");
    const { callRaw } = await import("../../protocol/make-call.ts");
    const fleet = openFleet(`${rig.home}/coordinator`);
    const [pin] = fleet.trust.list().filter(({ name }) => name === "liar");
    const channel = await fleet.link(pin as never).open();
    const input = { request: jobOf("true", { job: "silent" as never }), window: 1024 * 1024, holder: "one" };
    const told = await answerWithin(channel, 100, callRaw(channel, "/job/run", input)).catch(
      (error: SortieError) => error.code,
    );
    expect(told).toBe("TIMEOUT");
    await fleet.close();
  });
});

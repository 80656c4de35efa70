// What a peer can send to a runner: malformed, too much, too slowly, and about what is not its own. One runner serves all
// cases, and a peer that means well is asked for after each.

import { setTimeout as delay, setImmediate as turn } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import { encodeEnvelope } from "../../protocol/envelope.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { type Identity, loadIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { CALL_PROTOCOL, type Node, type NodeOptions, startNode } from "../../protocol/node.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { jobStdin, StdinBudget } from "../../runner/keeper/job-stdin.ts";
import {
  answerTo,
  chunk,
  codeOf,
  control,
  endOf,
  framed,
  jobOf,
  rawNode,
  requestText,
  sockets,
  type TestPeer,
  testPeer,
} from "../rig/hostile.ts";
import { residentBytesOf } from "../rig/processes.ts";
import { Rig, type RunnerProcess, until } from "../rig/rig.ts";
import { attack } from "./attack.ts";

const rig = new Rig();
let runner: RunnerProcess;
let mallory: TestPeer;
let honest: TestPeer;
const cleanups: (() => unknown)[] = [];

beforeAll(async () => {
  runner = await rig.startRunner("w1", ["-A", "--slots", "8", "--journal-size", "1MiB"]);
  [mallory, honest] = await Promise.all([
    testPeer(runner, rig.folder, "mallory"),
    testPeer(runner, rig.folder, "honest"),
  ]);
}, 60_000);

afterAll(async () => {
  await Promise.all([mallory?.stop(), honest?.stop()]);
  await rig[Symbol.asyncDispose]();
}, 60_000);

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  expect(runner.child.exitCode).toBe(null);
  expect(await answerMs()).toBeLessThan(5_000);
});

/** How long the runner takes to answer somebody else. */
async function answerMs(): Promise<number> {
  const began = performance.now();
  await honest.json("/runner/info", {});
  return performance.now() - began;
}

const kibibytesOf = (pid: number): number => residentBytesOf(pid) / 1024;

const run = (input: object): string => JSON.stringify({ request: input, window: limits.window, holder: "one" });
const asking = (text: string, carriage?: string): Buffer => framed(requestText("/job/run", text, carriage ?? "raw"));

describe("frames that are none", () => {
  for (const [what, bytes, refusal] of [
    ["an envelope of four gibibytes", framed("{}", 0xffff_ffff), "PROTOCOL: The peer sent an envelope of 4294967295"],
    ["an envelope that is cut short", framed("{}", 100), "PROTOCOL: The peer sent the end of the stream in the middle"],
    ["half a length", Buffer.from([0, 0]), "PROTOCOL: The peer sent the end of the stream in the middle"],
    ["two requests that overlap", framed(requestText("/runner/info", "{}"), 60), "PROTOCOL"],
    ["an answer instead of a request", encodeEnvelope({ type: "call.completed", id: "1", payload: {} }), "PROTOCOL"],
    ["an operation of the keeper's", framed(requestText("/keeper/cancel", '{"owner":null}')), "PROTOCOL: There is no"],
    ["an operation of everybody's prototype", framed(requestText("constructor", "{}")), "PROTOCOL: There is no"],
    ["a raw call as JSON", asking(run(jobOf("true")), "json"), "PROTOCOL: /job/run has the carriage raw"],
  ] as const)
    attack(`a peer sends ${what}`, "PROTOCOL, and nothing runs", async () => {
      expect(await answerTo(mallory, bytes, true)).toContain(refusal);
    });
});

describe("JSON that two readers take for different things", () => {
  const whole = JSON.stringify(run(jobOf("true")));
  const spoilt = (from: string, to: string): Buffer => {
    const text = run(jobOf("true", { job: "spoilt" as never }));
    expect(text).toContain(from);
    return asking(text.replace(from, () => to));
  };
  for (const [what, bytes] of [
    ["a key twice", () => spoilt('"job":', '"job":"first","job":')],
    ["a key twice, once escaped", () => spoilt('"job":', '"j\\u006fb":"first","job":')],
    ["__proto__ in an object", () => spoilt('"job":', '"__proto__":{"driven":true},"job":')],
    ["__proto__ for all fields", () => asking(`{"__proto__":${whole}}`)],
    ["a hundred thousand arrays within each other", () => asking("[".repeat(100_000) + "]".repeat(100_000))],
    ["half a mebibyte of opening braces", () => asking('{"a":'.repeat(100_000))],
    ["half a character", () => spoilt('"shell":"true"', '"shell":"echo \\ud800"')],
    ["a number that is none", () => spoilt('"attempt":1', '"attempt":NaN')],
    ["a number that no number holds", () => spoilt('"attempt":1', '"attempt":1e999')],
    ["a mark of byte order", () => framed(`\ufeff${requestText("/runner/info", "{}")}`)],
    ["bytes that are not UTF-8", () => framed(Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from("{}")]))],
    ["a newline in a job's name", () => spoilt('"job":"spoilt"', '"job":"a\\nb"')],
    ["JSON in a job's name", () => spoilt('"job":"spoilt"', '"job":"\\",\\"x\\":\\""')],
    ["an attempt called ../x", () => spoilt('"attemptId":"', '"attemptId":"../')],
    ["an attempt's id of a mebibyte", () => spoilt('"attemptId":"', `"attemptId":"${"a".repeat(1_000_000)}`)],
  ] as const)
    attack(`a peer sends ${what}`, "PROTOCOL within ten seconds", async () => {
      const began = performance.now();
      expect(await answerTo(mallory, bytes())).toMatch(/^PROTOCOL: /);
      expect(performance.now() - began).toBeLessThan(10_000);
      expect((await mallory.json("/job/list", {})).jobs.map(({ job }) => job)).not.toContain("spoilt");
    });
});

describe("what comes behind a request", () => {
  attack("a peer goes on sending behind a JSON call", "the call ends", async () => {
    const channel = await mallory.open();
    await channel.write(framed(requestText("/runner/watch", "{}")));
    expect(await channel.read()).toBeDefined();
    await channel.write(Buffer.alloc(100));
    expect(await endOf(channel)).toBe("CONNECTION_LOST");
  });

  for (const [what, bytes] of [
    ["a chunk of a fifth stream", chunk(4, "x")],
    ["a chunk of four gibibytes", chunk(0, "", 0xffff_ffff)],
    ["a control chunk of a mebibyte", chunk(3, "", 1024 * 1024)],
    ["an empty control chunk", chunk(3, "")],
    ["control that is not JSON", chunk(3, "{")],
    ["control with a key twice", chunk(3, '{"type":"cancel","type":"eof"}')],
    ["control of a type that is none", chunk(3, '{"type":"exit","code":0}')],
    ["an acknowledgement of what was not sent", control({ type: "ack", offset: 1_000_000 })],
    ["output of the job's", chunk(1, "forged")],
    ["stdin that was not announced", chunk(0, "x")],
    ["finish, to a job that is not driven", control({ type: "finish", code: 0 })],
  ] as const)
    attack(`a peer sends ${what} to its job`, "the session ends, and the job is as it was", async () => {
      const request = jobOf("read x < /dev/zero & echo on; exec sleep 61.7", { attemptId: jobOf("").attemptId });
      const session = await mallory.run(request);
      await session.write(bytes);
      // Of the keeper's socket an abort looks like an end: what tells them apart is the exit, and there was none.
      expect(await endOf(session)).toMatch(/ended|CONNECTION_LOST/);
      const { jobs } = await mallory.json("/job/list", {});
      expect(jobs.find(({ attemptId }) => attemptId === request.attemptId)).toMatchObject({ running: true });
      await cancel(mallory, request.attemptId);
    });

  attack("a peer sends more stdin than the window", "the session ends before it costs more", async () => {
    const request = jobOf("exec sleep 61.8", { stdin: true });
    const session = await mallory.run(request);
    const piece = chunk(0, Buffer.alloc(256 * 1024));
    const sent = (async () => {
      for (let total = 0; total < 64 * 1024 * 1024; total += piece.length) await session.write(piece);
    })();
    expect(await codeOf(sent)).toBe("CONNECTION_LOST");
    await cancel(mallory, request.attemptId);
  });
});

async function cancel(peer: TestPeer, attemptId: ReturnType<typeof jobOf>["attemptId"]): Promise<void> {
  const session = await peer.attach(attemptId, { control: true, window: limits.window });
  await session.write(control({ type: "cancel", by: "user" }));
  await until(
    async () => (await peer.json("/job/list", {})).jobs.find((job) => job.attemptId === attemptId)?.running,
    (running) => running !== true,
  );
  session.abort(new Error("It is over."));
}

describe("another peer's job", () => {
  attack("a peer reads, attaches, steers or lists it, or takes its id", "as if there were none", async () => {
    const request = jobOf("echo private; exec sleep 61.9");
    const session = await honest.run(request);
    const unknown = jobOf("").attemptId;
    const answers = async (attemptId: typeof unknown): Promise<string[]> =>
      Promise.all(
        [
          mallory.attach(attemptId),
          mallory.attach(attemptId, { control: true }),
          mallory.json("/job/logs", { attemptId, offset: 0, follow: false }),
          mallory.run(jobOf("true", { within: attemptId })),
        ].map((call) =>
          (call as Promise<unknown>).then(
            () => "answered",
            (error: SortieError) => `${error.code} ${error.message}`.replace(attemptId, "ID"),
          ),
        ),
      );
    const told = await answers(request.attemptId);
    expect(told).toEqual(await answers(unknown));
    expect(told.every((answer) => answer.startsWith("NOT_FOUND"))).toBe(true);
    expect((await mallory.json("/job/list", {})).jobs.map(({ attemptId }) => attemptId)).not.toContain(
      request.attemptId,
    );
    for (const peer of [mallory, honest])
      expect(await codeOf(peer.run({ ...jobOf("true"), attemptId: request.attemptId }))).toBe("DUPLICATE");
    session.abort(new Error("It is known."));
    const { jobs } = await honest.json("/job/list", {});
    expect(jobs.find(({ attemptId }) => attemptId === request.attemptId)?.running).toBe(true);
    await cancel(honest, request.attemptId);
  });
});

describe("before anybody knows who it is", () => {
  attack("two hundred slow sockets, and a mebibyte of garbage in each of ten", "an honest peer gets in", async () => {
    const slow = await sockets(runner, 200);
    cleanups.push(() => slow.map((socket) => socket.destroy()));
    for (const socket of slow.slice(0, 10)) socket.write(Buffer.alloc(1024 * 1024, 0xff));
    const late = await testPeer(runner, rig.folder, "late");
    cleanups.push(() => late.stop());
    const began = performance.now();
    expect((await late.json("/runner/info", {})).name).toBe("w1");
    expect(performance.now() - began).toBeLessThan(5_000);
  });

  attack("twelve hundred slow sockets from three addresses", "the oldest give up their places", async () => {
    for (const from of ["127.0.0.2", "127.0.0.3", "127.0.0.4"]) {
      const slow = await sockets(runner, 400, from);
      cleanups.push(() => slow.map((socket) => socket.destroy()));
    }
    const late = await testPeer(runner, rig.folder, "later");
    cleanups.push(() => late.stop());
    expect((await late.json("/runner/info", {})).name).toBe("w1");
  });

  attack("a stranger asks for anything", "no connection", async () => {
    const stranger = await testPeer(runner, rig.folder, "stranger", true);
    cleanups.push(() => stranger.stop());
    // Strangers are let in while an invite lives, for pairing and nothing else.
    expect(await codeOf(stranger.json("/runner/info", {}))).toMatch(/UNTRUSTED|RUNNER_UNREACHABLE/);
  });
});

describe("a trusted peer that asks for too much", () => {
  attack(
    "twenty thousand streams that are reset as soon as they are opened",
    "others are answered while they are read, and so is it",
    async () => {
      const node = await rawNode(runner, mallory.identity);
      cleanups.push(() => node.stop());
      const [connection] = node.getConnections();
      const { muxer } = connection as unknown as { muxer: { send(bytes: Uint8Array): unknown } };
      // A window update that opens a stream, and one that resets it; streams of this node's own have smaller numbers.
      const frame = (flags: number, stream: number): Buffer => {
        const header = Buffer.from([0, 1, 0, flags, 0, 0, 0, 0, 0, 0, 0, 0]);
        header.writeUInt32BE(stream, 4);
        return header;
      };
      const numbers = Array.from({ length: 20_000 }, (_, at) => 1_000_001 + 2 * at);
      muxer.send(Buffer.concat(numbers.flatMap((number) => [frame(1, number), frame(8, number)])));
      // What it asks behind all of that. Without a signal of ours libp2p gives up after ten seconds.
      let isRead = false;
      const own = (async () => {
        const stream = await connection?.newStream(CALL_PROTOCOL, { signal: AbortSignal.timeout(50_000) });
        stream?.send(framed(requestText("/runner/info", "{}")));
        await new Promise((resolve) => stream?.addEventListener("message", resolve, { once: true }));
      })().finally(() => {
        isRead = true;
      });
      // It is looked at once the answer that is under way has come.
      own.catch(() => {});
      let answers = 0;
      for (; !isRead; answers++) expect(await answerMs()).toBeLessThan(5_000);
      await own;
      expect(answers).toBeGreaterThan(10);
    },
  );

  attack(
    "ten thousand half-open streams over five connections",
    "others are answered meanwhile",
    async () => {
      const nodes = await Promise.all(Array.from({ length: 5 }, () => rawNode(runner, mallory.identity)));
      cleanups.push(() => Promise.all(nodes.map((node) => node.stop())));
      const before = kibibytesOf(runner.pid);
      for (const node of nodes) {
        const [connection] = node.getConnections();
        const muxer = (connection as unknown as { muxer: { createStream(options: object): Promise<unknown> } }).muxer;
        for (let count = 0; count < 2_000; count++) {
          await muxer.createStream({});
          // Else the honest peer, which is in this process as well, is silent for as long as all of that takes.
          if (count % 50 === 0) await turn();
        }
      }
      expect(await answerMs()).toBeLessThan(5_000);
      expect(kibibytesOf(runner.pid) - before).toBeLessThan(300 * 1024);
    },
    60_000,
  );

  attack(
    "twelve thousand calls as fast as they go",
    "they wait for their turn; others are answered",
    async () => {
      let stopped = false;
      let answered = 0;
      const flooding = Array.from({ length: 100 }, async () => {
        while (!stopped) {
          await mallory.json("/runner/info", {}).catch(() => delay(10));
          answered++;
        }
      });
      const times: number[] = [];
      const began = performance.now();
      // As many as are under way at once say little: others have to have followed.
      while (performance.now() - began < 1_000 || answered <= 200) times.push(await answerMs());
      stopped = true;
      await Promise.all(flooding);
      expect(Math.max(...times)).toBeLessThan(5_000);
    },
    60_000,
  );

  attack("an endless log, and a reader that does not read", "the job waits; memory stays", async () => {
    const before = kibibytesOf(runner.pid);
    const request = jobOf("exec yes");
    const session = await mallory.run(request, limits.windowMaximum);
    const ends = new Set<number>();
    // It comes to a halt at the window.
    await until(
      async () =>
        (await mallory.json("/job/list", {})).jobs.find((job) => job.attemptId === request.attemptId)?.end ?? 0,
      (end) => ends.size === ends.add(end).size && end > 0,
    );
    expect(kibibytesOf(runner.pid) - before).toBeLessThan(64 * 1024);
    session.abort(new Error("It is known."));
    await cancel(mallory, request.attemptId);
  });

  attack("a log over its cap, and nobody there", "what is dropped is counted", async () => {
    const request = jobOf("head -c 4000000 /dev/zero; exec sleep 62.1");
    (await mallory.run(request)).abort(new Error("Nobody is there."));
    const state = await until(
      async () => (await mallory.json("/job/list", {})).jobs.find((job) => job.attemptId === request.attemptId),
      (job) => (job?.end ?? 0) > 1_000_000,
    );
    expect(state?.end).toBeGreaterThan(1_000_000);
    expect(state?.end).toBeLessThan(4_000_000);
    await cancel(mallory, request.attemptId);
  });
});

describe("limits that are reached sooner", () => {
  const serve = async (handlers: (channel: ByteChannel, peer: string) => unknown, more: Partial<NodeOptions> = {}) => {
    const start = async (name: string, options: Partial<NodeOptions>): Promise<Node> => {
      const node = await startNode({
        identity: await identityOf(name),
        listen: [],
        trusts: () => true,
        pairingOpen: () => false,
        ...options,
      });
      cleanups.push(() => node.stop());
      return node;
    };
    const listener = await start("listener", { listen: ["/ip4/127.0.0.1/tcp/0"], onCall: handlers, ...more });
    const peers = await Promise.all(["a", "b"].map((name) => start(name, {})));
    const open = (peer = 0) => (peers[peer] as Node).open(listener.peer, listener.addresses(), CALL_PROTOCOL);
    const callers = peers.map(({ peer }) => peer);
    return Object.assign(open, { peer: listener.peer, address: listener.addresses()[0] ?? "", home: "", callers });
  };
  const identityOf = (name: string): Promise<Identity> => loadIdentity(`${rig.folder}/near-${name}-${cleanups.length}`);
  const info = {
    "/runner/info": async () => ({ name: "w", version: "1", labels: {}, slots: 1, busy: 0, draining: false }),
  };

  attack("a request of which a byte comes now and then", "TIMEOUT for the whole of it", async () => {
    const open = await serve((channel, peer) =>
      serveCall(channel, info, { peer, name: peer }, { firstEnvelopeMs: 200 }),
    );
    const channel = await open();
    const bytes = framed(requestText("/runner/info", "{}"));
    const sent = (async () => {
      for (const byte of bytes) {
        await channel.write(Uint8Array.of(byte));
        await delay(20);
      }
    })();
    expect(await codeOf(sent)).toBe("CONNECTION_LOST");
  });

  attack("unread bytes in many calls of one peer", "TOO_MANY for the one that holds the most", async () => {
    const served: { channel: ByteChannel; peer: string }[] = [];
    const open = await serve((channel, peer) => void served.push({ channel, peer }), {
      load: { heldPerPeerBytes: 4 * 1024 * 1024 },
    });
    const channels = await Promise.all([open(), open(), open(), open(1)]);
    for (const [index, channel] of channels.entries())
      await channel.write(Buffer.alloc((index + 1) * 1024 * 1024)).catch(() => {});
    const ends = await until(
      () => served.map(({ channel }) => (channel.lost.reason as SortieError | undefined)?.code),
      (codes) => codes.some(Boolean),
    );
    expect(ends.filter((code) => code === "TOO_MANY").length).toBe(1);
    // The other peer holds as much as the limit, and that is its own.
    const others = served.filter(({ peer }) => peer === open.callers[1]);
    expect(others.map(({ channel }) => channel.lost.aborted)).toEqual([false]);
  });

  attack("more open calls than a peer may have, over one connection", "TOO_MANY, while others are served", async () => {
    const waiting: ByteChannel[] = [];
    const open = await serve((channel) => new Promise(() => waiting.push(channel)), { load: { callsPerPeer: 3 } });
    const channels = await Promise.all([open(), open(), open(), open()]);
    for (const channel of channels) await channel.write(framed(requestText("/runner/info", "{}")));
    await until(
      () => waiting.length,
      (count) => count === 3,
    );
    const answers = await Promise.race(channels.map((channel) => channel.read()));
    expect(Buffer.from(answers ?? []).toString()).toContain('"code":"TOO_MANY"');
    await (await open(1)).write(Buffer.from("x"));
    expect(
      await until(
        () => waiting.length,
        (count) => count === 4,
      ),
    ).toBe(4);
  });

  attack("more connections than a peer may have", "the others are refused; another peer gets in", async () => {
    const target = await serve((channel, peer) => serveCall(channel, info, { peer, name: peer }), {
      load: { connectionsPerPeer: 10 },
    });
    const identity = await identityOf("many");
    const nodes = await Promise.all(Array.from({ length: 15 }, () => rawNode(target, identity).catch(() => {})));
    cleanups.push(() => Promise.all(nodes.map((node) => node?.stop())));
    // Refused after the handshake: a dialler may take it for a connection for a moment.
    const left = await until(
      () => nodes.filter((node) => node && node.getConnections().length > 0).length,
      (count) => count <= 10,
    );
    expect(left).toBe(10);
    expect(await (await target()).write(Buffer.from("x"))).toBeUndefined();
    await nodes.find((node) => node && node.getConnections().length > 0)?.stop();
    cleanups.push(
      (
        (again) => () =>
          again.stop()
      )(await rawNode(target, identity)),
    );
  });

  attack("more calls a second than a peer may begin", "the next ones wait; another peer's do not", async () => {
    const open = await serve((channel, peer) => serveCall(channel, info, { peer, name: peer }), {
      load: { callsBurst: 5, callsPerSecond: 20 },
    });
    const call = async (peer: number): Promise<number> => {
      const began = performance.now();
      const channel = await open(peer);
      await channel.write(framed(requestText("/runner/info", "{}")));
      await channel.read();
      return performance.now() - began;
    };
    await call(1);
    const order: string[] = [];
    const mine = Array.from({ length: 12 }, () => call(0).finally(() => order.push("mine")));
    const other = call(1).finally(() => order.push("other"));
    expect(Math.max(...(await Promise.all(mine)))).toBeGreaterThan(250);
    await other;
    expect(order.at(-1)).toBe("mine");
  });

  attack("stdin of many jobs that do not read it", "TOO_MANY; another peer's jobs, and later ones, have room", () => {
    const MiB = 1024 * 1024;
    const budget = new StdinBudget(4 * MiB, 6 * MiB);
    // A process that does not read.
    const deaf = { writeStdin: () => new Promise<void>(() => {}), endStdin() {} };
    const [first, second] = [jobStdin(deaf, "mallory", budget), jobStdin(deaf, "mallory", budget)];
    const others = jobStdin(deaf, "honest", budget);
    const code = (take: () => void): string => {
      try {
        take();
        return "taken";
      } catch (error) {
        return (error as SortieError).code;
      }
    };
    first.take(Buffer.alloc(3 * MiB));
    expect(code(() => second.take(Buffer.alloc(2 * MiB)))).toBe("TOO_MANY");
    expect(second.taken).toBe(0);
    expect(code(() => others.take(Buffer.alloc(2 * MiB)))).toBe("taken");
    expect(code(() => others.take(Buffer.alloc(2 * MiB)))).toBe("TOO_MANY");
    first.release();
    expect(code(() => second.take(Buffer.alloc(2 * MiB)))).toBe("taken");
  });

  attack("requests of a mebibyte", "each counts as many: the next waits, and another peer does not", async () => {
    const open = await serve((channel, peer) => serveCall(channel, info, { peer, name: peer }), {
      load: { callsBurst: 200, callsPerSecond: 0.1 },
    });
    const long = requestText("/runner/info", `{"a":"${"x".repeat(1_000_000)}"}`);
    const channel = await open();
    await channel.write(framed(long));
    expect(Buffer.from((await channel.read()) ?? []).toString()).toContain("PROTOCOL");
    const ask = async (peer: number): Promise<ByteChannel> => {
      const asking = await open(peer);
      await asking.write(framed(requestText("/runner/info", "{}")));
      return asking;
    };
    let isAnswered = false;
    void (await ask(0))
      .read()
      .then(() => {
        isAnswered = true;
      })
      .catch(() => {});
    // Behind it, and over a connection that is yet to be made.
    expect(Buffer.from((await (await ask(1)).read()) ?? []).toString()).toContain("call.responded");
    expect(isAnswered).toBe(false);
  });
});

import { mkdtempSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { afterEach, describe, expect, it } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { type Identity, loadIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { CALL_PROTOCOL, type Node, type NodeOptions, PAIR_PROTOCOL, startNode } from "../../protocol/node.ts";
import { openProxy, through } from "../rig/proxy.ts";
import { until } from "../rig/rig.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

async function identity(): Promise<Identity> {
  const folder = mkdtempSync(join(tmpdir(), "sortie-node-"));
  cleanups.push(() => rmSync(folder, { recursive: true }));
  return loadIdentity(folder);
}

async function node(options: Partial<NodeOptions> = {}): Promise<Node> {
  const started = await startNode({
    identity: await identity(),
    listen: [],
    trusts: () => true,
    pairingOpen: () => false,
    ...options,
  });
  cleanups.push(() => started.stop());
  return started;
}

const listen = ["/ip4/127.0.0.1/tcp/0"];
const portOf = (listener: Node): number => Number(/tcp\/(\d+)/.exec(listener.addresses()[0] ?? "")?.[1]);

const PATIENT_MS = 100_000;
/** So many keys and handshakes take a machine that is busy with other things more than a minute. */
const HUNDREDS = { timeout: 120_000 };

/** For the nodes that the test makes from now on. */
function withLimits(changed: { handshakeMs?: number; negotiationMs: number }): void {
  const { handshakeMs, negotiationMs } = limits;
  Object.assign(limits, changed);
  cleanups.push(() => Object.assign(limits, { handshakeMs, negotiationMs }));
}

/** Both sides, or hundreds, are in this one process: how long a handshake takes among all that is not what is tested. */
const patientHandshakes = (): void => withLimits({ handshakeMs: PATIENT_MS, negotiationMs: PATIENT_MS });

/** Sends everything back. */
const echo = async (channel: ByteChannel): Promise<void> => {
  try {
    for (let bytes = await channel.read(); bytes; bytes = await channel.read()) await channel.write(bytes);
    await channel.close();
  } catch {
    // The caller is gone.
  }
};

async function readAll(channel: ByteChannel): Promise<string> {
  let text = "";
  for (let bytes = await channel.read(); bytes; bytes = await channel.read()) text += Buffer.from(bytes).toString();
  return text;
}

async function roundTrip(from: Node, to: Node, text = "hello"): Promise<string> {
  const channel = await from.open(to.peer, to.addresses(), CALL_PROTOCOL);
  await channel.write(Buffer.from(text));
  await channel.close();
  return readAll(channel);
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code,
  );

describe("the node", () => {
  it("carries a thousand calls at once on one connection", HUNDREDS, async () => {
    patientHandshakes();
    const listener = await node({ listen, onCall: (channel) => void echo(channel) });
    const dialler = await node();
    const channels = await Promise.all(
      Array.from({ length: 1_000 }, () => dialler.open(listener.peer, listener.addresses(), CALL_PROTOCOL)),
    );
    const answers = await Promise.all(
      channels.map(async (channel, index) => {
        await channel.write(Buffer.from(`call ${index}`));
        await channel.close();
        return readAll(channel);
      }),
    );
    expect(answers).toEqual(Array.from({ length: 1_000 }, (_, index) => `call ${index}`));
  });

  it(
    "takes all of 200 peers that dial in at once from one address, where libp2p's defaults refuse most",
    HUNDREDS,
    async () => {
      patientHandshakes();
      const called = new Set<string>();
      const listener = await node({ listen, onCall: (_channel, peer) => void called.add(peer) });
      const patient = {
        dialTimeout: PATIENT_MS,
        addressDialTimeout: PATIENT_MS,
        outboundStreamProtocolNegotiationTimeout: PATIENT_MS,
      };
      const [byDefault, ...diallers] = await Promise.all(
        Array.from({ length: 201 }, async (_, index) =>
          createLibp2p({
            privateKey: await generateKeyPair("Ed25519"),
            addresses: { listen: index === 0 ? listen : [] },
            transports: [tcp()],
            connectionEncrypters: [noise()],
            streamMuxers: [yamux()],
            ...(index === 0 ? {} : { connectionManager: patient }),
          }),
        ),
      );
      cleanups.push(() => Promise.all([byDefault, ...diallers].map((one) => one?.stop())));

      const dialAll = (address: string) =>
        Promise.all(
          diallers
            .map(async (dialler) => {
              const connection = await dialler.dial(multiaddr(address));
              await connection.newStream(CALL_PROTOCOL).catch(() => {});
            })
            .map((dial) => dial.then(() => "connected", String)),
        );
      expect(new Set(await dialAll(listener.addresses()[0] ?? ""))).toEqual(new Set(["connected"]));
      expect(
        await until(
          () => called.size,
          (size) => size === 200,
        ),
      ).toBe(200);

      // The default listener speaks no call protocol: only whether the connection stood is counted.
      const ends = await dialAll(String(byDefault?.getMultiaddrs()[0]));
      expect(ends.filter((end) => end !== "connected").length).toBeGreaterThan(100);
    },
  );

  it("gives a stranger no connection, and a known peer its call", async () => {
    const friend = await node();
    const stranger = await node();
    const listener = await node({
      listen,
      trusts: (peer) => peer === friend.peer,
      onCall: (channel) => void echo(channel),
    });
    expect(await codeOf(roundTrip(stranger, listener))).toMatch(/UNTRUSTED|RUNNER_UNREACHABLE|CONNECTION_LOST/);
    expect(await roundTrip(friend, listener)).toBe("hello");
  });

  it("lets a stranger reach pairing, and nothing else, while an invite lives", async () => {
    const stranger = await node();
    const calls: string[] = [];
    const refused: string[] = [];
    const listener = await node({
      listen,
      trusts: () => false,
      pairingOpen: () => true,
      onCall: (_channel, peer) => void calls.push(peer),
      onCallRefused: (peer, { code }) => void refused.push(`${peer} ${code}`),
      onPair: (channel) => void echo(channel),
    });
    const pairing = await stranger.open(listener.peer, listener.addresses(), PAIR_PROTOCOL);
    await pairing.write(Buffer.from("pair"));
    await pairing.close();
    expect(await readAll(pairing)).toBe("pair");
    expect(await roundTrip(stranger, listener)).toContain('"code":"UNTRUSTED"');
    await expect(stranger.open(listener.peer, listener.addresses(), "/ipfs/id/1.0.0" as never)).rejects.toThrow();
    expect(calls).toEqual([]);
    expect(refused).toEqual([`${stranger.peer} UNTRUSTED`]);
  });

  it("says that a connection is full, here or there, and not that it is not trusted", HUNDREDS, async () => {
    patientHandshakes();
    const small = await node({ listen, load: { streamsPerPeer: 2 }, onCall: () => new Promise(() => {}) });
    const dialler = await node();
    const opened = (to: Node) => codeOf(dialler.open(to.peer, to.addresses(), CALL_PROTOCOL));
    expect([await opened(small), await opened(small), await opened(small)]).toEqual(["nothing", "nothing", "TOO_MANY"]);
    const listener = await node({ listen, onCall: () => new Promise(() => {}) });
    const codes = await Promise.all(Array.from({ length: limits.callsPerConnection + 1 }, () => opened(listener)));
    expect(codes.filter((code) => code !== "nothing")).toEqual(["TOO_MANY"]);
  });

  it("says of a peer that does not answer in time nothing but that, however much of it stands", async () => {
    const listener = await node({ listen, onCall: (channel) => void echo(channel) });
    const proxy = await openProxy(() => portOf(listener));
    cleanups.push(() => proxy.close());
    withLimits({ negotiationMs: 200 });
    const dialler = await node();
    const address = through(proxy.port, listener.addresses()[0] ?? "");
    await dialler.connect(listener.peer, [address], 30_000);
    proxy.freeze();
    const opening = dialler.open(listener.peer, [address], CALL_PROTOCOL);
    await expect(opening).rejects.toMatchObject({
      code: "RUNNER_UNREACHABLE",
      message: expect.stringMatching(/^No connection to the peer …\w{8} at \S+: no answer in time\.$/),
    });
  });

  it("says in one sentence why it cannot listen", async () => {
    const first = await node({ listen });
    const taken = (first.addresses()[0] ?? "").replace(/\/p2p\/.*/, "");
    await expect(node({ listen: [taken] })).rejects.toThrow(
      `Cannot listen on ${taken}: listen EADDRINUSE: address already in use 127.0.0.1:${portOf(first)}.`,
    );
  });

  it("reaches no other peer than the one that was meant", async () => {
    const listener = await node({ listen, onCall: (channel) => void echo(channel) });
    const other = await identity();
    const dialler = await node();
    const address = (listener.addresses()[0] ?? "").replace(/\/p2p\/.*/, "");
    expect(await codeOf(dialler.open(other.peer, [address], CALL_PROTOCOL))).toBe("RUNNER_UNREACHABLE");
    expect(await codeOf(dialler.open(other.peer, listener.addresses(), CALL_PROTOCOL))).toBe("USAGE");
  });

  for (const [what, garbage] of Object.entries({
    "0xff": Buffer.alloc(1024 * 1024, 0xff),
    "bad negotiation": Buffer.from("\u0013/multistream/1.0.0\n\u0003na\n".repeat(40_000)),
  })) {
    it(`cuts off a mebibyte of ${what} before authentication, and goes on serving`, async () => {
      const listener = await node({ listen, onCall: (channel) => void echo(channel) });
      const friend = await node();
      const before = process.memoryUsage().rss;
      const socket = connect(portOf(listener), "127.0.0.1");
      const closed = new Promise((resolve) => socket.on("close", resolve));
      socket.on("error", () => {});
      socket.resume();
      socket.write(garbage);
      await closed;
      expect(process.memoryUsage().rss - before).toBeLessThan(100 * 1024 * 1024);
      expect(await roundTrip(friend, listener)).toBe("hello");
    });
  }

  it("reads no more than a handshake from whoever answers a dial, known by name or not", async () => {
    const stranger = await identity();
    const dialler = await node();
    const unread: number[] = [];
    const sends = createServer((socket) => {
      socket.on("error", () => {});
      // A first message of Noise that is as long as one can be, and is none: who reads it whole hangs up at once.
      socket.write("\u0013/multistream/1.0.0\n\u0007/noise\n");
      socket.write(Buffer.alloc(10 * 1024 * 1024, 0xff));
      setTimeout(() => {
        unread.push(socket.writableLength);
        socket.destroy();
      }, 300);
    });
    await new Promise<void>((resolve) => sends.listen(0, "127.0.0.1", resolve));
    cleanups.push(() => sends.close());
    const address = `/ip4/127.0.0.1/tcp/${(sends.address() as AddressInfo).port}`;
    void dialler.meet(address, async (peer) => peer).catch(() => {});
    void dialler.open(stranger.peer, [address], CALL_PROTOCOL).catch(() => {});
    await until(
      () => unread.length,
      (count) => count === 2,
    );
    expect(unread.length).toBe(2);
    // Of ten megabytes the sockets' buffers took some.
    for (const bytes of unread) expect(bytes).toBeGreaterThan(1024 * 1024);
  });

  it("gives idle sockets no place for long: an honest peer gets in among 200 of them", async () => {
    const listener = await node({ listen, onCall: (channel) => void echo(channel) });
    const sockets = await Promise.all(
      Array.from(
        { length: 200 },
        () =>
          new Promise<ReturnType<typeof connect>>((resolve) => {
            const socket = connect(portOf(listener), "127.0.0.1", () => resolve(socket));
            socket.on("error", () => {});
          }),
      ),
    );
    cleanups.push(() => sockets.map((socket) => socket.destroy()));
    expect(await roundTrip(await node(), listener)).toBe("hello");
    const open = await until(
      () => sockets.filter((socket) => !socket.destroyed && socket.readyState === "open").length,
      (count) => count === 0,
    );
    expect(open).toBe(0);
  });

  it("tells a channel's end from its loss", async () => {
    const channels: ByteChannel[] = [];
    const listener = await node({ listen, onCall: (channel) => void channels.push(channel) });
    const dialler = await node();
    const channel = await dialler.open(listener.peer, listener.addresses(), CALL_PROTOCOL);
    await channel.write(Buffer.from("half"));
    const [served] = await until(
      () => channels,
      (all) => all.length === 1,
    );
    expect(Buffer.from((await served?.read()) ?? []).toString()).toBe("half");
    listener.disconnect(dialler.peer);
    expect(await codeOf(channel.read())).toBe("CONNECTION_LOST");
    expect(channel.lost.aborted).toBe(true);
    expect(await codeOf(channel.write(Buffer.from("x")))).toBe("CONNECTION_LOST");
  });

  it("ends the stream of a peer that sends more than anybody asked for, and keeps the other calls", async () => {
    const channels: ByteChannel[] = [];
    const listener = await node({ listen, onCall: (channel) => void channels.push(channel) });
    const dialler = await node();
    const flood = await dialler.open(listener.peer, listener.addresses(), CALL_PROTOCOL);
    const piece = Buffer.alloc(256 * 1024);
    const sent = (async () => {
      for (let total = 0; total < 64 * 1024 * 1024; total += piece.length) await flood.write(piece);
    })();
    expect(await codeOf(sent)).toBe("CONNECTION_LOST");
    const [served] = channels;
    expect(await codeOf(served?.read() ?? Promise.resolve())).toBe("CHANNEL_FLOODED");
    const other = await dialler.open(listener.peer, listener.addresses(), CALL_PROTOCOL);
    await other.write(Buffer.from("still here"));
    expect(
      Buffer.from(
        (await (
          await until(
            () => channels,
            (all) => all.length === 2,
          )
        )[1]?.read()) ?? [],
      ).toString(),
    ).toBe("still here");
  });

  it("holds no more than the window for a reader that does not read", async () => {
    const listener = await node({
      listen,
      onCall: async (channel) => {
        // A well-behaved sender: a window, and then nothing until it is acknowledged.
        await channel.write(Buffer.alloc(limits.window));
        const ack = await channel.read();
        await channel.write(Buffer.from(ack ?? []));
        await channel.close();
      },
    });
    const dialler = await node();
    const channel = await dialler.open(listener.peer, listener.addresses(), CALL_PROTOCOL);
    let read = 0;
    while (read < limits.window) read += (await channel.read())?.length ?? 0;
    await channel.write(Buffer.from("ack"));
    expect(await readAll(channel)).toBe("ack");
  });
});

describe("a peer that dials by itself", () => {
  it("is called over the connection that it made, which tells it when it ends", async () => {
    const dials = await node({ onCall: (channel) => void echo(channel) });
    const listens = await node({ listen });
    const early = listens.arrives(dials.peer, 30_000);
    const { ended } = await dials.connect(listens.peer, listens.addresses(), 30_000);
    expect(await early).toBe(true);
    const channel = await listens.open(dials.peer, [], CALL_PROTOCOL);
    await channel.write(Buffer.from("hello"));
    await channel.close();
    expect(await readAll(channel)).toBe("hello");
    listens.disconnect(dials.peer);
    await ended;
    expect(await listens.arrives(dials.peer, 1)).toBe(false);
  });

  it("has its older connection ended by a new one, where each has one only", async () => {
    const me = await identity();
    const listens = await node({ listen, oneConnectionEach: true });
    const first = await node({ identity: me });
    const { ended } = await first.connect(listens.peer, listens.addresses(), 30_000);
    const second = await node({ identity: me, onCall: (channel) => void echo(channel) });
    await second.connect(listens.peer, listens.addresses(), 30_000);
    await ended;
    const channel = await listens.open(me.peer, [], CALL_PROTOCOL);
    await channel.write(Buffer.from("new"));
    await channel.close();
    expect(await readAll(channel)).toBe("new");
  });
});

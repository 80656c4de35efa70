import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";
import type { StreamMuxer, StreamMuxerFactory } from "@libp2p/interface";
import { describe, expect, it, onTestFinished } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { CALL_PROTOCOL, type Node, type NodeOptions } from "../../protocol/node.ts";
import { endSilent } from "../../protocol/silence.ts";
import { testNode } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";

const silenceMs = limits.silenceMinimumMs;

/** A connection that does nothing but be watched. */
function watched(milliseconds: number) {
  const heard: unknown[] = [];
  const connection = {
    status: "open",
    ended: undefined as Error | undefined,
    abort(error: Error) {
      connection.status = "closed";
      connection.ended = error;
    },
  };
  const muxer = { onData: (bytes: unknown) => heard.push(bytes) };
  const factory = { createStreamMuxer: () => muxer } as unknown as StreamMuxerFactory;
  endSilent(milliseconds, () => factory)({}).createStreamMuxer(connection as never) satisfies StreamMuxer;
  onTestFinished(() => {
    connection.status = "closed";
  });
  return { connection, heard, say: (bytes: unknown) => muxer.onData(bytes) };
}

describe("a silent connection", () => {
  it("ends, with a word for why, once nothing was heard for so long", async () => {
    const { connection } = watched(200);
    await until(
      () => connection.ended,
      (error) => error !== undefined,
    );
    expect(connection.ended).toMatchObject({ code: "CONNECTION_LOST", message: "Nothing was heard for 0.2 s" });
  });

  it("lives for as long as anything comes, and hands all of it on", async () => {
    const { connection, heard, say } = watched(300);
    for (let count = 0; count < 30; count++) {
      say(count);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    expect(connection.ended).toBeUndefined();
    expect(heard).toEqual(Array.from({ length: 30 }, (_, index) => index));
    await until(
      () => connection.ended,
      (error) => error !== undefined,
    );
    expect(connection.ended).toBeDefined();
  });

  it("is not taken for dead where this process itself was held up: what came meanwhile is read first", async () => {
    const { connection, say } = watched(300);
    const heldUp = performance.now();
    while (performance.now() - heldUp < 1_000);
    setTimeout(() => say("it was there"), 60);
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(connection.ended).toBeUndefined();
  });

  it("refuses a muxer that cannot be listened to", () => {
    const factory = { createStreamMuxer: () => ({}) } as unknown as StreamMuxerFactory;
    expect(() => endSilent(100, () => factory)({}).createStreamMuxer({} as never)).toThrow();
  });
});

/** Between two nodes; it can stop passing anything on, without a word. */
async function proxy(target: number) {
  const sockets: Socket[] = [];
  let frozen = false;
  let passedAt = 0;
  const server = createServer((near) => {
    const far = connect(target, "127.0.0.1");
    sockets.push(near, far);
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on("error", () => {});
      from.on("close", () => !frozen && to.destroy());
      from.on("data", (bytes) => {
        if (frozen) return;
        passedAt = performance.now();
        to.write(bytes);
      });
    }
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return {
    port: (server.address() as { port: number }).port,
    /** Gives when something has passed for the last time: that may be a ping ago. */
    freeze: () => {
      frozen = true;
      return passedAt;
    },
  };
}

const node = (options: Partial<NodeOptions>): Promise<Node> => testNode({ trusts: () => true, silenceMs, ...options });

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code,
  );

describe("a peer that vanishes without closing anything", () => {
  it("is noticed on both sides, and a quiet one that is there is not", async () => {
    const served: ByteChannel[] = [];
    const listener = await node({
      listen: ["/ip4/127.0.0.1/tcp/0"],
      onCall: (channel) => void served.push(channel),
    });
    const port = Number(/tcp\/(\d+)/.exec(listener.addresses()[0] ?? "")?.[1]);
    const between = await proxy(port);
    const dialler = await node({});
    const address = `/ip4/127.0.0.1/tcp/${between.port}/p2p/${listener.peer}`;
    const channel = await dialler.open(listener.peer, [address], CALL_PROTOCOL);
    await channel.write(Buffer.from("x"));
    const [theirs] = await until(
      () => served,
      (all) => all.length === 1,
    );
    await theirs?.read();
    // Nobody says anything for longer than the silence that ends a connection: pings are heard.
    await new Promise((resolve) => setTimeout(resolve, 2.5 * silenceMs));
    expect([channel.lost.aborted, theirs?.lost.aborted]).toEqual([false, false]);
    const reads = Promise.all([codeOf(channel.read()), codeOf((theirs as ByteChannel).read())]);
    const passedAt = between.freeze();
    expect(await reads).toEqual(["CONNECTION_LOST", "CONNECTION_LOST"]);
    expect(performance.now() - passedAt).toBeGreaterThan(silenceMs / 2);
  });
});

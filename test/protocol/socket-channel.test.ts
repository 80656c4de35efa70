import { once } from "node:events";
import { readdirSync } from "node:fs";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import fc from "fast-check";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { dialSocket } from "../../protocol/local-socket.ts";
import { callJson, subscribe } from "../../protocol/make-call.ts";
import type { RunnerInfo } from "../../protocol/messages.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { socketChannel } from "../../protocol/socket-channel.ts";
import { testFolder } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";

/** Two ends of a connection on a Unix socket. */
let pair: () => Promise<[ByteChannel, ByteChannel]>;
const sockets: Socket[] = [];

beforeEach(async () => {
  const path = join(testFolder(), "test.sock");
  const taken: ((channel: ByteChannel) => void)[] = [];
  const server = createServer((socket) => {
    sockets.push(socket);
    taken.shift()?.(socketChannel(socket));
  });
  server.listen(path);
  await once(server, "listening");
  onTestFinished(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
    server.close();
  });
  pair = async () => {
    const theirs = new Promise<ByteChannel>((resolve) => taken.push(resolve));
    const socket = connect(path);
    sockets.push(socket);
    const ours = socketChannel(socket);
    await once(socket, "connect");
    return [ours, await theirs];
  };
});

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code,
  );

async function readAll(channel: ByteChannel): Promise<Buffer> {
  const pieces: Uint8Array[] = [];
  for (let bytes = await channel.read(); bytes; bytes = await channel.read()) {
    expect(bytes.length).toBeGreaterThan(0);
    pieces.push(bytes);
  }
  return Buffer.concat(pieces);
}

const descriptors = (): number => readdirSync("/proc/self/fd").length;

describe("a channel on a socket", () => {
  it("carries both directions whole and in order, however they are cut", async () => {
    const pieces = fc.array(fc.array(fc.uint8Array({ maxLength: 70_000 }), { maxLength: 4 }), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(pieces, pieces, async (there, back) => {
        const ends = await pair();
        const send = async (channel: ByteChannel, writes: Uint8Array[][]): Promise<void> => {
          for (const write of writes) await channel.write(write.length === 1 && write[0] ? write[0] : write);
          await channel.close();
        };
        const [, , got, answer] = await Promise.all([
          send(ends[0], there),
          send(ends[1], back),
          readAll(ends[1]),
          readAll(ends[0]),
        ]);
        expect(got.equals(Buffer.concat(there.flat()))).toBe(true);
        expect(answer.equals(Buffer.concat(back.flat()))).toBe(true);
        expect(ends.map((channel) => channel.lost.aborted)).toEqual([false, false]);
      }),
      { numRuns: 50 },
    );
  });

  it("ends one direction at a time: what the other side still says is heard", async () => {
    const [ours, theirs] = await pair();
    await ours.write(Buffer.from("question"));
    await ours.close();
    expect((await readAll(theirs)).toString()).toBe("question");
    await new Promise((resolve) => setImmediate(resolve));
    await theirs.write(Buffer.from("answer"));
    await theirs.close();
    expect((await readAll(ours)).toString()).toBe("answer");
    expect([ours.lost.aborted, theirs.lost.aborted]).toEqual([false, false]);
  });

  it("makes a writer wait whose reader does not read, and goes on when he does", async () => {
    const [ours, theirs] = await pair();
    const piece = Buffer.alloc(64 * 1024, "x");
    const count = 400;
    let written = 0;
    const writing = (async () => {
      for (; written < count; written++) await ours.write(piece);
      await ours.close();
    })();
    await theirs.read();
    let before = -1;
    // Until it stands still: what the kernel holds, and a piece or two on each side.
    await until(
      async () => {
        const stands = before === written;
        before = written;
        await new Promise((resolve) => setTimeout(resolve, 50));
        return stands;
      },
      (stands) => stands,
    );
    expect(written).toBeLessThan(64);
    await readAll(theirs);
    await writing;
    expect(written).toBe(count);
  });

  it("tells a writer that waits that its reader is gone", async () => {
    const [ours, theirs] = await pair();
    const writing = (async () => {
      for (;;) await ours.write(Buffer.alloc(64 * 1024));
    })();
    await theirs.read();
    theirs.abort(new Error("gone"));
    expect(await codeOf(writing)).toBe("CONNECTION_LOST");
    expect(ours.lost.aborted).toBe(true);
    expect(await codeOf(ours.write(Buffer.from("x")))).toBe("CONNECTION_LOST");
    expect(await codeOf(ours.read())).toBe("CONNECTION_LOST");
    await ours.close();
  });

  it("refuses a write behind its own end, and does not mind a second one", async () => {
    const [ours, theirs] = await pair();
    await ours.close();
    await ours.close();
    expect(await codeOf(ours.write(Buffer.from("x")))).toBe("CONNECTION_LOST");
    await theirs.close();
    expect(await theirs.read()).toBeUndefined();
  });

  it("ends at once when it is aborted: a read that waits, and one that comes later", async () => {
    const [ours] = await pair();
    const reading = ours.read().catch((error: Error) => error.message);
    ours.abort(new Error("enough"));
    ours.abort(new Error("again"));
    expect(await reading).toBe("enough");
    await expect(ours.read()).rejects.toThrow("enough");
    await expect(ours.write(Buffer.from("x"))).rejects.toThrow("enough");
    expect(ours.lost.aborted).toBe(true);
  });

  it("gives what came before the other side's end first", async () => {
    const [ours, theirs] = await pair();
    await theirs.write(Buffer.from("last words"));
    await theirs.close();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await readAll(ours)).toString()).toBe("last words");
  });

  it("keeps no descriptor, however a call ended", async () => {
    const info: RunnerInfo = { name: "w1", version: "1", labels: {}, slots: 1, busy: 0, draining: false };
    const handlers = {
      "/runner/info": async () => info,
      async *"/runner/watch"() {
        yield info;
        yield info;
      },
    };
    const before = descriptors();
    for (let round = 0; round < 30; round++) {
      const [ours, theirs] = await pair();
      const served = serveCall(theirs, handlers, { peer: "test", name: "test" });
      if (round % 3 === 0) await callJson(ours, "/runner/info", {});
      else if (round % 3 === 1) for await (const _ of subscribe(ours, "/runner/watch", {}));
      else await codeOf(callJson(ours, "/job/list", {}));
      await served;
    }
    expect(
      await until(
        () => descriptors(),
        (count) => count <= before,
      ),
    ).toBeLessThanOrEqual(before);
  });
});

describe("a dialled socket", () => {
  it("whose listener ends before it has taken the connection is one that nobody listens at", async () => {
    const path = join(testFolder(), "ends.sock");
    const server = createServer();
    server.listen(path);
    await once(server, "listening");
    const dialled = dialSocket(path);
    server.close();
    expect(await dialled).toBe(undefined);
  });
});

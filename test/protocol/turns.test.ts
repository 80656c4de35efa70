import { setImmediate as turn } from "node:timers/promises";
import type { MessageStream } from "@libp2p/interface";
import type { Uint8ArrayList } from "uint8arraylist";
import { expect, it } from "vitest";
import { limits } from "../../protocol/limits.ts";
import { openTurns, type RawConnection, rawOf } from "../../protocol/turns.ts";
import { until } from "../rig/rig.ts";

/** So many bytes take their reader a millisecond: as many as are read at once in the beginning. */
const SLOW_BYTES = 4 * 1024;

/** Of a connection what turns are made of. */
function connection(name: string, read: string[]) {
  const socket = { isPaused: false };
  const one = Object.assign(new EventTarget(), {
    readStatus: "readable",
    onData(bytes: Uint8Array | Uint8ArrayList) {
      const end = performance.now() + bytes.length / SLOW_BYTES;
      while (performance.now() < end);
      read.push(`${name}${Buffer.from(bytes.subarray())}`);
    },
    sendPause: () => {
      socket.isPaused = true;
    },
    sendResume: () => {
      socket.isPaused = false;
    },
  });
  const raw = rawOf(one as unknown as MessageStream) as RawConnection;
  expect(raw).toBe(one);
  return {
    one: one as unknown as MessageStream,
    raw,
    socket,
    receive: (text: string) => raw.onData(Buffer.from(text)),
    text: () => read.flatMap((piece) => (piece.startsWith(name) ? [piece.slice(1)] : [])).join(""),
  };
}

it("lets others read between what one peer sends over all its connections, and loses nothing of it", async () => {
  const read: string[] = [];
  const turns = openTurns();
  const [first, second, other] = ["a", "b", "c"].map((name) => connection(name, read)) as [
    ReturnType<typeof connection>,
    ReturnType<typeof connection>,
    ReturnType<typeof connection>,
  ];
  for (const { raw, one } of [first, second, other]) turns.begin(one, raw);
  turns.belongs(first.one, "flood");
  turns.belongs(second.one, "flood");
  turns.belongs(other.one, "other");
  const sent = Array.from({ length: 40 }, (_, at) => String(at % 10).repeat(SLOW_BYTES));
  for (const each of [first, second]) for (const piece of sent) each.receive(piece);
  const readMs = (): number => (first.text().length + second.text().length) / SLOW_BYTES;
  // It has had its turn, over the one connection; the other one waits with it.
  expect(readMs()).toBeLessThanOrEqual(limits.turnMs + 2);
  expect([first.socket.isPaused, second.socket.isPaused]).toEqual([true, true]);
  other.receive("!");
  expect(read.at(-1)).toBe("c!");
  await turn();
  other.receive("!");
  expect(read.at(-1)).toBe("c!");
  // One more turn, and no more.
  expect(readMs()).toBeLessThanOrEqual(2 * (limits.turnMs + 2));
  await until(readMs, (ms) => ms === 80);
  expect([first.text(), second.text(), other.text()]).toEqual([sent.join(""), sent.join(""), "!!"]);
  expect([first.socket.isPaused, second.socket.isPaused, other.socket.isPaused]).toEqual([false, false, false]);
});

it("asks for no more than what reads it wants, and is nothing for another libp2p", async () => {
  const read: string[] = [];
  const turns = openTurns();
  const { one, raw, socket, receive, text } = connection("a", read);
  turns.begin(one, raw);
  receive("x".repeat(2 * limits.turnMs * SLOW_BYTES));
  receive("y");
  expect(socket.isPaused).toBe(true);
  Object.assign(one, { readStatus: "paused" });
  await until(
    () => text().length,
    (length) => length === 2 * limits.turnMs * SLOW_BYTES + 1,
  );
  await turn();
  expect(socket.isPaused).toBe(true);
  expect(rawOf({ onData() {} } as unknown as MessageStream)).toBe(undefined);
});

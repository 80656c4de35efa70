import { expect, it } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import { StdinSender } from "../../coordinator/stdin-sender.ts";
import type { RawCarriage } from "../../protocol/call.ts";
import { ChunkDecoder } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { newAttemptId, newId } from "../../protocol/ids.ts";

it("leaves the input of a job that was not taken where it is, for when it is asked for again", async () => {
  let read = 0;
  async function* input() {
    for (const text of ["one ", "two"]) {
      read++;
      yield Buffer.from(text);
    }
  }
  const stdin = input();
  const refused = startAttempt({
    link: {
      id: "w1",
      name: "w1",
      async open() {
        // Time enough for one that reads ahead.
        await new Promise<void>((resolve) => setImmediate(resolve));
        throw new SortieError("RUNNER_UNREACHABLE", "w1 is not there.");
      },
    } as never,
    attemptId: newAttemptId(),
    request: {
      attemptId: newAttemptId(),
      run: newId(),
      job: "a",
      attempt: 1,
      steps: [],
      env: [],
      stdin: true,
    } as never,
    stdin,
    sink: { store() {}, output() {} },
    reconnectMs: 0,
  });
  await expect(refused).rejects.toMatchObject({ code: "RUNNER_UNREACHABLE" });
  expect(read).toBe(0);

  const decoder = new ChunkDecoder();
  let sent = "";
  const ended = new Promise<void>((resolve) => {
    const write = async (bytes: Uint8Array | readonly Uint8Array[]): Promise<void> => {
      for (const part of decoder.push(Buffer.concat([bytes].flat() as Uint8Array[]))) {
        if (part.kind === "data") sent += Buffer.from(part.payload).toString();
        else resolve();
      }
    };
    new StdinSender(stdin, () => {}).connect({ write } as unknown as RawCarriage, 0);
  });
  await ended;
  expect(sent).toBe("one two");
});

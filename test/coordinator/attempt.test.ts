import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import type { Handlers } from "../../protocol/call.ts";
import { SortieError } from "../../protocol/errors.ts";
import { newAttemptId } from "../../protocol/ids.ts";
import { simulatedRunner } from "../rig/simulated-fleet.ts";
import { dial, request } from "../runner/calls.ts";

it("tells how an attempt failed to whoever asks later, and is no unhandled rejection until then", async () => {
  const wanted = request("true");
  const failed = Promise.withResolvers<void>();
  const { end } = await startAttempt({
    link: simulatedRunner("w1", 1),
    attemptId: wanted.attemptId,
    request: wanted,
    reconnectMs: 0,
    sink: {
      store() {
        failed.resolve();
        throw new SortieError("STORE_FAILED", "The disk is full.");
      },
      output() {},
    },
  });
  await failed.promise;
  await nextTurn();
  await expect(end).rejects.toMatchObject({ code: "STORE_FAILED" });
});

it("leaves an attempt also where that is asked while its runner is being found", async () => {
  const attemptId = newAttemptId();
  const asked = Promise.withResolvers<void>();
  const go = Promise.withResolvers<void>();
  const handlers: Handlers = {
    async "/job/attach"(_asked, _caller, accept) {
      asked.resolve();
      await go.promise;
      const carriage = await accept({ attemptId, offset: 0, missing: { stdout: 0, stderr: 0 }, end: 0, stdin: 0 });
      // A job that says nothing, for as long as it is read.
      while (await carriage.read());
    },
  };
  const link = { id: "w1", name: "w1", open: async () => dial({ handlers }) };
  const { end, abandon } = await startAttempt({ link, attemptId, reconnectMs: 0, sink: { store() {}, output() {} } });
  await asked.promise;
  abandon(new SortieError("INTERRUPTED", "It is left."));
  go.resolve();
  await expect(end).rejects.toMatchObject({ code: "INTERRUPTED" });
});

import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import { SortieError } from "../../protocol/errors.ts";
import { simulatedRunner } from "../rig/simulated-fleet.ts";
import { request } from "../runner/calls.ts";

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

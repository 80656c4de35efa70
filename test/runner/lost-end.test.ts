import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { encodeChunk, encodeControl, STDOUT } from "../../protocol/chunk.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { privateFolder } from "../../protocol/home.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { openKeeper } from "../../runner/keeper/keeper.ts";
import { writeRecord } from "../../runner/keeper/record.ts";
import { testFolder } from "../rig/peers.ts";

it("does not give the end of a lost job to whoever had more of it than its disk", async () => {
  const folder = testFolder();
  const journals = privateFolder(join(folder, "journals"));
  const ids = { attemptId: newAttemptId(), run: newRunId(), job: "a" as JobName, attempt: 1 };
  writeRecord(journals, { ...ids, owner: "me", startedAt: Date.now(), leaseMs: null });
  const held = Buffer.concat([
    encodeControl({ type: "started", at: Date.now(), attemptId: ids.attemptId }),
    encodeChunk(STDOUT, Buffer.from("on disk")),
  ]);
  writeFileSync(join(journals, `${ids.attemptId}.0.0.0.chunks`), held);
  // The second one finds the exit that the first one wrote.
  for (const _ of [1, 2]) {
    const keeper = await openKeeper({ folder });
    const attach = async (offset: number): Promise<unknown> => {
      const input = { attemptId: ids.attemptId, owner: "me", offset, control: true, window: 65_536, holder: "h" };
      const taken = new Error("taken");
      const caller = { peer: "front", name: "" };
      const accept = () => Promise.reject(taken);
      const call = keeper.handlers["/keeper/attach"]?.(input, caller, accept, new AbortController().signal);
      return Promise.resolve(call).catch((error: SortieError) => (error === taken ? "taken" : error));
    };
    expect(await attach(held.length)).toBe("taken");
    const message = "The job was lost with its keeper, and with it 2 bytes of what it had sent.";
    expect(await attach(held.length + 2)).toMatchObject({ code: "OFFSET_GONE", message });
    await keeper.close();
  }
});

// The end of one session, moment by moment: what comes when is decided here, and not by a connection.
import { describe, expect, it } from "vitest";
import type { RawCarriage } from "../../protocol/call.ts";
import { encodeControl, STDOUT } from "../../protocol/chunk.ts";
import { type AttemptId, type JobName, newRunId } from "../../protocol/ids.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import { type KeptJob, keptJob } from "../../runner/keeper/kept-job.ts";
import { serveSession } from "../../runner/keeper/session.ts";
import { codeOf } from "./calls.ts";
import { type TestJournal, testJournal } from "./journals.ts";

function ended({ journal, attemptId }: TestJournal): KeptJob {
  journal.appendData(STDOUT, Buffer.from("all there is"));
  journal.appendControl({ type: "exit", reason: "exited", code: 0, bytes: { stdout: 12, stderr: 0 } });
  journal.close();
  const record = {
    ...{ attemptId: attemptId as AttemptId, run: newRunId(), job: "job" as JobName, attempt: 1 },
    ...{ owner: "test", startedAt: 0, leaseMs: null },
  };
  return keptJob(record, journal, { acknowledged: false, endedAt: 0, lostAt: undefined });
}

/** Serves the job's journal from the offset on; `during` is what the caller does before each write is done. */
async function serve(
  kept: KeptJob,
  offset: number,
  during: (caller: RawCarriage, sent: number) => Promise<void>,
  control = true,
): Promise<boolean> {
  const [caller, ours] = memoryChannelPair();
  let sent = offset;
  let acknowledged = false;
  const session = kept.begin(control ? "one" : undefined);
  const slow: RawCarriage = {
    ...ours,
    async write(bytes) {
      await ours.write(bytes);
      sent += (bytes instanceof Uint8Array ? [bytes] : bytes).reduce((sum, { length }) => sum + length, 0);
      await during(caller, sent);
      for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve));
    },
  };
  try {
    await serveSession(kept, session, slow, {
      offset,
      window: 65_536,
      acknowledged: () => {
        acknowledged = true;
      },
    });
  } finally {
    session.end();
  }
  return acknowledged;
}

const answer = async (caller: RawCarriage, offset: number): Promise<void> => {
  await caller.write(encodeControl({ type: "ack", offset }));
};

describe("the end of a session", () => {
  it("is complete where the caller answers the exit, and leaves, before the write of it is done", async () => {
    const one = testJournal();
    const kept = ended(one);
    const acknowledged = await serve(kept, 0, async (caller, sent) => {
      await answer(caller, sent);
      if (sent === one.journal.end) await caller.close();
    });
    expect(acknowledged).toBe(true);
  });

  it("is complete for an owner who has everything already", async () => {
    const one = testJournal();
    const kept = ended(one);
    expect(await serve(kept, one.journal.end, async () => {})).toBe(true);
  });

  it("acknowledges nothing for a reader who takes everything", async () => {
    const one = testJournal();
    expect(await serve(ended(one), 0, answer, false)).toBe(false);
  });

  it("is a loss where the caller leaves with a byte unanswered", async () => {
    const one = testJournal();
    const leaves = serve(ended(one), 0, async (caller, sent) => {
      await answer(caller, sent === one.journal.end ? sent - 1 : sent);
      if (sent === one.journal.end) await caller.close();
    });
    expect(await codeOf(leaves)).toBe("CONNECTION_LOST");
  });
});

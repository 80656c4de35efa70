// `coordinator logs` as a process, on a record and logs that the test itself writes: so it decides what is there when.
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { join } from "node:path";
import { setImmediate as soon } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EventReader, RunOutcome } from "../../coordinator/events.ts";
import { createLog, type LogWriter } from "../../coordinator/store/log.ts";
import { openStore, type Store } from "../../coordinator/store/store.ts";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { type AttemptId, type JobName, newAttemptId, newRunId, type RunId } from "../../protocol/ids.ts";
import { openFilesOf } from "../rig/processes.ts";
import { Rig, root, until } from "../rig/rig.ts";

const job = "talk" as JobName;

describe("coordinator logs", () => {
  let rig: Rig;
  let store: Store;
  let reader: EventReader;
  let run: RunId;
  beforeEach(() => {
    rig = new Rig();
    store = openStore(join(rig.home, "coordinator"));
    reader = store.reader();
    run = newRunId();
    reader.on({ type: "run-started", at: 1, run, recipe: "talk.ts", jobs: [{ name: job, needs: [] }] });
  });
  afterEach(async () => {
    store.close();
    await rig[Symbol.asyncDispose]();
  });

  /** An attempt begins: its row, and its log. */
  function startAttempt(attempt = 1): { id: AttemptId; log: LogWriter } {
    const id = newAttemptId();
    const log = createLog(store.logPath({ run, id }));
    log.write(encodeControl({ type: "started", at: Date.UTC(2026, 0, 2), attemptId: id }));
    const runner = { runner: "w1", runnerId: "12D3KooW" };
    reader.on({ type: "job-dispatched", at: 2, job, attempt, attemptId: id, ...runner });
    return { id, log };
  }
  const exitChunk = (stdout: number, stderr: number): Uint8Array =>
    encodeControl({ type: "exit", reason: "exited", code: 0, bytes: { stdout, stderr } });
  function endRun(outcome: "passed" | "lost", message?: string): void {
    reader.on({ type: "job-ended", at: 3, job, outcome, durationMs: 1, ...(message === undefined ? {} : { message }) });
    reader.on({ type: "run-ended", at: 3, run, outcome: outcome as RunOutcome, durationMs: 1 });
  }
  async function wholeLog(...chunks: Uint8Array[]): Promise<void> {
    const { log } = startAttempt();
    for (const chunk of chunks) await log.write(chunk);
    log.close();
    endRun("passed");
  }

  it("waits for a job that has not started, and then misses no byte of it", async () => {
    const tail = rig.spawnCoordinator(["logs", "-f", job]);
    const content = { stdout: randomBytes(700_000), stderr: randomBytes(300_000) };
    const chunks = [];
    for (let at = 0; at < 700_000; at += 7_001) {
      chunks.push(encodeChunk(STDOUT, content.stdout.subarray(at, at + 7_001)));
      if (at < 300_000) chunks.push(encodeChunk(STDERR, content.stderr.subarray(at, Math.min(300_000, at + 7_001))));
    }
    const bytes = Buffer.concat([...chunks, exitChunk(700_000, 300_000)]);
    // Until it has opened the record, there is nobody who could wait.
    await until(
      () => openFilesOf(tail.child.pid ?? 0),
      (files) => files.some((file) => file.endsWith("sortie.db")),
    );
    const { log } = startAttempt();
    store.runs(1);
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + Math.floor(Math.random() * 30_000);
      await log.write(bytes.subarray(at, at + size));
      at += size;
      await soon();
    }
    log.close();
    endRun("passed");
    const ended = await tail.ended;
    expect({ code: ended.code, stdout: ended.stdout.equals(content.stdout) }).toEqual({ code: 0, stdout: true });
    // stderr is text in the rig: what is no UTF-8 has become the same replacement on both sides.
    expect(ended.stderr).toBe(content.stderr.toString());
  });

  it("goes on with the next attempt where one was lost", async () => {
    const first = startAttempt();
    await first.log.write(encodeChunk(STDOUT, Buffer.from("first\n")));
    store.runs(1);
    const tail = rig.spawnCoordinator(["logs", "-f", job]);
    await tail.waitFor(/first/);
    first.log.close();
    const second = startAttempt(2);
    await second.log.write(encodeChunk(STDOUT, Buffer.from("second\n")));
    await second.log.write(exitChunk(7, 0));
    second.log.close();
    endRun("passed");
    const { code, text, stderr } = await tail.ended;
    expect({ code, text }).toEqual({ code: 0, text: "first\nsecond\n" });
    expect(stderr).toBe("sortie: attempt 1 was lost; attempt 2 follows\n");
    expect(await rig.coordinator(["logs", first.id.slice(0, 8)])).toMatchObject({ code: 1, text: "first\n" });
  });

  it("says why a log is not whole, also when its last lines are all that is shown", async () => {
    const { log } = startAttempt();
    await log.write(encodeChunk(STDOUT, Buffer.from("one\ntwo\n")));
    log.close();
    endRun("lost", "The connection was lost.");
    for (const more of [[], ["-f"], ["-n", "1"]]) {
      const { code, text, stderr } = await rig.coordinator(["logs", ...more, job]);
      expect({ code, text, stderr }).toEqual({
        code: 1,
        text: more.includes("-n") ? "two\n" : "one\ntwo\n",
        stderr: "sortie: this log is incomplete: it has no exit; The connection was lost.\n",
      });
    }
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/incomplete: it has no exit/);
  });

  it("names the bytes that a log lacks", async () => {
    await wholeLog(encodeChunk(STDOUT, Buffer.from("half")), exitChunk(8, 2));
    expect(await rig.coordinator(["logs", "-n", "5", job])).toMatchObject({
      code: 1,
      text: "half",
      stderr: "sortie: this log is incomplete: stdout has 4 of 8 bytes, stderr has 0 of 2 bytes\n",
    });
  });

  it("tells what its coordinator finds to be missing, also where that is on record behind the log's end", async () => {
    const { log } = startAttempt();
    await log.write(encodeChunk(STDOUT, Buffer.from("abcd")));
    const tail = rig.spawnCoordinator(["logs", "-f", job]);
    await tail.waitFor(/abcd/);
    await log.write(exitChunk(4, 0));
    log.close();
    reader.on({ type: "job-ended", at: 3, job, outcome: "lost", durationMs: 1, gap: "stdout has other bytes" });
    expect(await tail.ended).toMatchObject({
      code: 1,
      stderr: "sortie: this log is incomplete: stdout has other bytes\n",
    });
  });

  it("puts the time of a line's first byte before it, and changes no byte of it", async () => {
    const line = Buffer.concat([Buffer.from([0xff, 0xfe, 0]), Buffer.alloc(40_000, "x"), Buffer.from("\r\n")]);
    const at = Date.UTC(2026, 0, 2, 3, 4, 5, 678);
    await wholeLog(
      encodeControl({ type: "mark", at }),
      encodeChunk(STDOUT, line.subarray(0, 20_000)),
      encodeControl({ type: "mark", at: at + 1_000 }),
      encodeChunk(STDOUT, Buffer.concat([line.subarray(20_000), Buffer.from("\nend")])),
      exitChunk(line.length + 4, 0),
    );
    const { code, stdout } = await rig.coordinator(["logs", "--timestamps", job]);
    const first = Buffer.from("2026-01-02T03:04:05.678Z ");
    const later = Buffer.from("2026-01-02T03:04:06.678Z ");
    expect(code).toBe(0);
    expect(stdout.equals(Buffer.concat([first, line, later, Buffer.from("\n"), later, Buffer.from("end")]))).toBe(true);
  });

  it("ends quietly when its reader leaves, and waits for a slow one", async () => {
    const chunk = encodeChunk(STDOUT, randomBytes(256 * 1024));
    const hash = createHash("sha256");
    for (let index = 0; index < 120; index++) hash.update(chunk.subarray(5));
    await wholeLog(...Array.from({ length: 120 }, () => chunk), exitChunk(120 * (chunk.length - 5), 0));
    const command = [process.execPath, join(root, "dist/coordinator.js"), "logs", job];
    const env = { ...process.env, SORTIE_HOME: rig.home };
    const left = spawn("sh", ["-c", `{ "$@"; echo "code=$?" >&2; } | head -c 10`, "sh", ...command], { env });
    let said = "";
    left.stderr.on("data", (bytes) => {
      said += bytes;
    });
    await once(left, "close");
    expect(said).toBe("code=0\n");

    const slow = spawn(command[0] as string, command.slice(1), { env });
    const seen = createHash("sha256");
    for await (const bytes of slow.stdout) {
      seen.update(bytes);
      if (Math.random() < 0.05) await soon();
    }
    expect(seen.digest("hex")).toBe(hash.digest("hex"));
  });

  it("lets no output act on the terminal it is shown in, and shows a line before it ends", async () => {
    const { log } = startAttempt();
    await log.write(
      encodeChunk(STDOUT, Buffer.from("\u001b]0;owned\u0007\u001b[2Jlook \u001b[31mred\u001b[0m\nPassword: ")),
    );
    store.runs(1);
    const socket = `sortie-${randomUUID()}`;
    const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
    const follow = `SORTIE_HOME=${rig.home} ${process.execPath} ${root}/dist/coordinator.js logs -f ${job}; echo "code=$?"; read end`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "80", "-y", "10", "sh", "-c", `echo before; ${follow}`);
    try {
      const shown = await until(
        () => tmux("capture-pane", "-p"),
        (screen) => screen.includes("Password:"),
      );
      expect(shown).toContain("before\n·]0;owned··[2Jlook red\nPassword:");
      expect(tmux("display-message", "-p", "#{pane_title}")).not.toContain("owned");
      await log.write(exitChunk(0, 0));
      log.close();
      endRun("passed");
      await until(
        () => tmux("capture-pane", "-p"),
        (screen) => screen.includes("code="),
      );
    } finally {
      tmux("kill-server");
    }
  });

  it("refuses a count that is none", async () => {
    for (const args of [
      ["logs", "-n", "many", job],
      ["runs", "-n", "0"],
      ["runs", "-n", "x"],
    ])
      expect(await rig.coordinator(args)).toMatchObject({ code: 2, stderr: expect.stringContaining("error[USAGE]") });
  });
});

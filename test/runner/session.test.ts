import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { beforeEach, describe, expect, it } from "vitest";
import { ChunkDecoder, encodeChunk, encodeControl, STDERR, STDIN, STDOUT } from "../../protocol/chunk.ts";
import type { Exit } from "../../protocol/exit.ts";
import { OutputTally } from "../../protocol/hash.ts";
import { limits } from "../../protocol/limits.ts";
import { type JobRequest, JournalControl } from "../../protocol/messages.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import type { Runner } from "../../runner/runner.ts";
import { processesOf, processesRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import {
  attach,
  codeOf,
  endOf,
  finish,
  jobFolder,
  listJobs,
  request,
  startJob,
  testRunner,
  untilSaid,
} from "./calls.ts";
import { heldNow } from "./held.ts";

let folder: string;
let keeper: KeeperLink;
let runner: Runner;
beforeEach(async () => {
  folder = jobFolder();
  keeper = await embeddedKeeper(folder);
  runner = await testRunner(folder, { keeper });
});

const start = (wanted: JobRequest, window: number = limits.windowMinimum) => startJob(runner, wanted, { window });

describe("a job's session", () => {
  it("sends started first, the exit last, and the counts and hashes of both outputs", async () => {
    const { exit, controls, stdout, stderr } = await finish(await start(request("echo out; echo err >&2; exit 3")));
    expect([stdout, stderr]).toEqual(["out\n", "err\n"]);
    const tally = new OutputTally();
    tally.add(STDOUT, Buffer.from("out\n"));
    tally.add(STDERR, Buffer.from("err\n"));
    const bytes = { stdout: 4, stderr: 4 };
    expect(exit).toEqual({ type: "exit", reason: "exited", code: 3, bytes, hash: tally.hash() });
    // One mark for each tenth of a second in which it wrote.
    expect([...new Set(controls.map((control) => control.type))]).toEqual(["started", "mark", "exit"]);
    expect(controls.at(-1)?.type).toBe("exit");
  });

  it("sends no more than the window to a caller that acknowledges nothing, and the job goes on to its journal", async () => {
    const wanted = request("head -c 50000000 /dev/zero; echo done >&2");
    const call = await start(wanted);
    let got = 0;
    const reading = (async () => {
      for (let bytes = await call.read(); bytes; bytes = await call.read()) got += bytes.length;
    })().catch(() => {});
    const [over] = await until(
      () => listJobs(runner),
      ([job]) => job?.running === false,
    );
    expect(over?.end).toBeGreaterThan(50_000_000);
    expect(got).toBe(limits.windowMinimum);
    call.abort(new Error("enough"));
    await reading;
    const { exit, stderr } = await finish(await attach(runner, wanted));
    expect(stderr).toBe("done\n");
    expect(exit.bytes).toEqual({ stdout: 50_000_000, stderr: 5 });
  });

  it("is acknowledged by a caller that answers the exit and leaves at once", async () => {
    for (let round = 0; round < 20; round++) {
      const wanted = request("true");
      await finish(await start(wanted));
      const [job] = await until(
        () => listJobs(runner),
        ([latest]) => latest?.acknowledged === true,
      );
      expect(job).toMatchObject({ attemptId: wanted.attemptId, acknowledged: true, running: false });
    }
  });

  it("frees the slot before the exit is told", async () => {
    for (let round = 0; round < 20; round++) {
      const waits = () => start(request("read end", { stdin: true }));
      const calls = await Promise.all([waits(), waits()]);
      expect(await codeOf(start(request("true")))).toBe("RUNNER_FULL");
      await Promise.all(calls.map((call) => call.write(encodeControl({ type: "eof" }))));
      await Promise.all(calls.map((call) => finish(call)));
      expect(runner.info().busy).toBe(0);
    }
  });

  it("refuses an attempt that it has taken before, also when it is over", async () => {
    const once = request("echo x >> $HOME/never; true");
    await finish(await start({ ...once, steps: [{ argv: ["true"] }] }));
    expect(await codeOf(start(once))).toBe("DUPLICATE");
  });

  it("takes no job while it drains", async () => {
    runner.drain();
    expect(await codeOf(start(request("true")))).toBe("RUNNER_DRAINING");
  });

  it("lets the first cause win: a cancellation before the time-out is no time-out", async () => {
    const call = await start(
      request("trap '' TERM; while :; do sleep 0.05; done", { timeoutMs: 1_200, graceMs: 1_500 }),
    );
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    // Long enough for its process to be there by then: without one there is no signal to tell.
    const late = await start(request("sleep 30", { timeoutMs: 1_200 }));
    const ends = await Promise.all([finish(call), finish(late)]);
    expect(ends.map(({ exit }) => exit)).toMatchObject([
      { reason: "cancelled", by: "user", code: null },
      { reason: "timeout", timeoutMs: 1_200, signal: "TERM" },
    ]);
  });

  it("tells a job that was cancelled while it was being started", async () => {
    const call = await start(request("sleep 30"));
    await call.write(encodeControl({ type: "cancel", by: "run" }));
    expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", by: "run" });
  });

  it("sends a signal to the whole tree", async () => {
    const ready = join(folder, "ready");
    const call = await start(
      request(`trap 'echo got; exit 0' USR1; echo up; touch ${ready}; while :; do sleep 0.02; done`),
    );
    await until(() => existsSync(ready), Boolean);
    await call.write(encodeControl({ type: "signal", name: "USR1" as never }));
    const { stdout, exit } = await finish(call);
    expect(stdout).toBe("up\ngot\n");
    expect(exit).toMatchObject({ reason: "exited", code: 0 });
  });

  it("tells how much stdin was taken, so that the caller may go on", async () => {
    const call = await start(request("cat > /dev/null", { stdin: true }));
    const finished = finish(call);
    for (let index = 0; index < 16; index++) await call.write(encodeChunk(STDIN, Buffer.alloc(64 * 1024)));
    await call.write(encodeControl({ type: "eof" }));
    const { controls } = await finished;
    expect(controls.filter((control) => control.type === "received").at(-1)).toEqual({
      type: "received",
      offset: 1024 * 1024,
    });
  });

  it("hands stdin on byte by byte, whole and in order, to a process that begins to read late", async () => {
    const call = await start(request("sleep 0.3; cat", { stdin: true }), limits.window);
    const finished = finish(call);
    const text = Array.from({ length: 20_000 }, (_, index) => String.fromCharCode(97 + (index % 26))).join("");
    const pieces = Array.from(text, (letter) => encodeChunk(STDIN, Buffer.from(letter)));
    for (let at = 0; at < pieces.length; at += 1_000) await call.write(Buffer.concat(pieces.slice(at, at + 1_000)));
    await call.write(encodeControl({ type: "eof" }));
    expect((await finished).stdout).toBe(text);
  });

  it("holds a window of stdin in single bytes for a process that does not read, and still hears the caller", async () => {
    const call = await start(request("sleep 4866", { stdin: true }));
    const piece = encodeChunk(STDIN, Buffer.from("x"));
    const many = Buffer.concat(Array.from({ length: 64 * 1024 }, () => piece));
    const before = heldNow();
    for (let sent = 0; sent < limits.window; sent += 64 * 1024) await call.write(many);
    await until(heldNow, (held) => held - before < 8 * limits.window);
    expect(heldNow() - before).toBeLessThan(8 * limits.window);
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", by: "user" });
  });

  it("serves a caller that acknowledges as late as its window allows, up to the largest window", async () => {
    const call = await start(request("head -c 30000000 /dev/zero"), limits.windowMaximum);
    const decoder = new ChunkDecoder();
    let acknowledged = 0;
    let exit: Exit | undefined;
    while (!exit) {
      const bytes = await call.read();
      if (!bytes) break;
      for (const part of decoder.push(bytes)) {
        const message = part.kind === "control" ? v.parse(JournalControl, part.json) : undefined;
        if (message?.type === "exit") exit = message;
      }
      if (!exit && decoder.offset - acknowledged < limits.windowMaximum) continue;
      acknowledged = decoder.offset;
      await call.write(encodeControl({ type: "ack", offset: acknowledged }));
    }
    expect(exit).toMatchObject({ reason: "exited", bytes: { stdout: 30_000_000, stderr: 0 } });
    await call.close();
  });

  it("is over with the exit's acknowledgement: a caller that leaves its direction open keeps nothing", async () => {
    const call = await start(request("echo x > file"));
    const decoder = new ChunkDecoder();
    let over = false;
    while (!over) {
      for (const part of decoder.push((await call.read()) ?? Buffer.alloc(0)))
        over ||= part.kind === "control" && v.parse(JournalControl, part.json).type === "exit";
      await call.write(encodeControl({ type: "ack", offset: decoder.offset }));
    }
    expect(await call.read()).toBeUndefined();
    expect(
      await until(
        () => readdirSync(join(folder, "work")),
        (left) => left.length === 0,
      ),
    ).toEqual([]);
    expect(await listJobs(runner)).toMatchObject([{ attached: false, acknowledged: true }]);
  });

  it("tells a program whose name is longer than a control chunk as missing, in brief", async () => {
    const { exit, stderr } = await finish(await start(request("", { steps: [{ argv: ["x".repeat(100_000)] }] })));
    expect(exit).toMatchObject({ reason: "failed-to-start", stage: "command", code: 127 });
    expect(stderr.length).toBeLessThan(2_000);
    expect(exit.bytes.stderr).toBe(Buffer.byteLength(stderr));
  });

  it("cancels a job that cleared its environment and ignores TERM", async () => {
    const stubborn = ["env", "-i", "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"];
    const call = await start(request("", { steps: [{ argv: stubborn }] }));
    await untilSaid(call, "up\n");
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    expect((await finish(call)).exit).toMatchObject({ reason: "cancelled", by: "user", signal: "KILL" });
  });

  it("stops in spite of callers that never acknowledge, and cancels what runs", async () => {
    const calls = await Promise.all([start(request("echo over")), start(request("sleep 4865"))]);
    await runner.close();
    expect(processesOf("sleep\x004865")).toEqual([]);
    for (const call of calls) expect(await endOf(call)).toBe("CONNECTION_LOST");
  });

  it("leaves nothing running when the runner leaves at once, not even what cleared its environment", async () => {
    await start(request("", { steps: [{ argv: ["env", "-i", "sleep", "4862"] }] }));
    await start(request("setsid sleep 4863 & sleep 4864"));
    const sleeps = ["4862", "4863", "4864"];
    expect(
      await until(
        () => sleeps.flatMap((seconds) => processesRunning("sleep", seconds)).length,
        (count) => count === 3,
      ),
    ).toBe(3);
    keeper.kill();
    expect(
      await until(
        () => sleeps.flatMap((seconds) => processesOf(`sleep\0${seconds}`)),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
  });

  const violations: Record<string, { bytes: Uint8Array; stdin?: boolean }> = {
    "a chunk on an unknown stream": { bytes: Uint8Array.of(7, 0, 0, 0, 0) },
    "a chunk of stdout": { bytes: encodeChunk(STDOUT, Buffer.from("x")) },
    "a chunk of stderr": { bytes: encodeChunk(STDERR, Buffer.from("x")) },
    "stdin that was not announced": { bytes: encodeChunk(STDIN, Buffer.from("x")) },
    "stdin after its end": {
      bytes: Buffer.concat([encodeControl({ type: "eof" }), encodeChunk(STDIN, Buffer.from("x"))]),
      stdin: true,
    },
    "more stdin than the window": {
      bytes: Buffer.concat(Array.from({ length: 20 }, () => encodeChunk(STDIN, Buffer.alloc(256 * 1024)))),
      stdin: true,
    },
    "an unknown control": { bytes: encodeChunk(3, Buffer.from('{"type":"format-disk"}')) },
    "an exit": { bytes: encodeChunk(3, Buffer.from('{"type":"exit","code":0}')) },
    "an acknowledgement of what was never sent": { bytes: encodeControl({ type: "ack", offset: 10 ** 9 }) },
    "control that is no JSON": { bytes: encodeChunk(3, Buffer.from("nonsense")) },
  };
  for (const [what, { bytes, stdin = false }] of Object.entries(violations)) {
    it(`ends at ${what}, as if it were lost: this job and others go on`, async () => {
      // Neither ends before: what comes for a job that is over is no violation.
      const go = join(folder, "go");
      const waits = `until [ -e ${go} ]; do sleep 0.02; done`;
      const other = await start(request(`${waits}; echo fine`));
      const wanted = request(`echo before; ${waits}; echo after`, { stdin });
      const call = await start(wanted);
      await call.write(bytes).catch(() => {});
      expect(await endOf(call)).toBe("CONNECTION_LOST");
      writeFileSync(go, "");
      expect((await finish(await attach(runner, wanted))).stdout).toBe("before\nafter\n");
      expect((await finish(other)).stdout).toBe("fine\n");
    });
  }

  it("removes a job's directory also where the job took its own permissions away", async () => {
    await finish(await start(request("mkdir -p a/b; touch a/b/c; chmod 500 a/b a")));
    expect(
      await until(
        () => readdirSync(join(folder, "work")),
        (left) => left.length === 0,
      ),
    ).toEqual([]);
  });
});

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import { ChunkDecoder, encodeChunk, encodeControl, HEADER_BYTES, STDIN } from "../../protocol/chunk.ts";
import { limits } from "../../protocol/limits.ts";
import { subscribe } from "../../protocol/make-call.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import type { Runner } from "../../runner/runner.ts";
import { until } from "../rig/rig.ts";
import {
  attach,
  codeOf,
  dial,
  endOf,
  finish,
  jobFolder,
  jobLogs,
  listJobs,
  request,
  startJob,
  testRunner,
  untilSaid,
} from "./calls.ts";
import { contentsOf } from "./journals.ts";

let folder: string;
let runner: Runner;
beforeEach(async () => {
  folder = jobFolder();
  runner = await testRunner(folder);
});

const gone = new Error("gone");
const reader = { control: false, holder: "" };

/** A script's wait for `go`. */
const untilGo = (): string => `while ! [ -e ${join(folder, "go")} ]; do sleep 0.02; done`;
const go = (): void => writeFileSync(join(folder, "go"), "");

const isExit = (json: unknown): boolean => (json as { type?: unknown }).type === "exit";

const running = (wanted: JobRequest): Promise<boolean | undefined> =>
  until(
    async () => (await listJobs(runner)).find((job) => job.attemptId === wanted.attemptId)?.running,
    (is) => is === false,
  );

describe("attaching to a job", () => {
  it("gives the same bytes from any offset, while it runs and afterwards", async () => {
    const wanted = request(`for i in 1 2 3; do echo out $i; echo err $i >&2; done; ${untilGo()}; echo end`);
    const call = await startJob(runner, wanted);
    const said = await untilSaid(call, "err 3\n");
    const readers = Array.from({ length: 8 }, async (_, index) => {
      const offset = Math.floor((said * index) / 8);
      const reading = await attach(runner, wanted, { ...reader, offset });
      expect(reading.output).toMatchObject({ offset, missing: { stdout: 0, stderr: 0 } });
      const pieces: Uint8Array[] = [];
      for (let bytes = await reading.read(); bytes; bytes = await reading.read()) {
        pieces.push(bytes);
        const at = offset + pieces.reduce((sum, { length }) => sum + length, 0);
        await reading.write(encodeControl({ type: "ack", offset: at }));
      }
      return { offset, bytes: Buffer.concat(pieces) };
    });
    go();
    call.abort(gone);
    const { bytes, stdout } = await finish(await attach(runner, wanted));
    expect(stdout).toBe("out 1\nout 2\nout 3\nend\n");
    for (const one of await Promise.all(readers)) expect(one.bytes.equals(bytes.subarray(one.offset))).toBe(true);
    for (const offset of [0, 1, HEADER_BYTES, said, bytes.length - 1, bytes.length]) {
      const late = await attach(runner, wanted, { ...reader, offset });
      const pieces: Uint8Array[] = [];
      for (let length = 0; length < bytes.length - offset; length += pieces.at(-1)?.length ?? 0)
        pieces.push((await late.read()) ?? Buffer.alloc(0));
      expect(Buffer.concat(pieces).equals(bytes.subarray(offset))).toBe(true);
      late.abort(gone);
    }
    expect(await codeOf(attach(runner, wanted, { ...reader, offset: bytes.length + 1 }))).toBe("OFFSET_GONE");
  });

  it("carries a job over any number of cut sessions without a byte lost or repeated", async () => {
    const lines = 30_000;
    const wanted = request(`i=0; while [ $i -lt ${lines} ]; do i=$((i+1)); echo $i; echo e$i >&2; done`);
    let call: ByteChannel = await startJob(runner, wanted);
    const stored: Uint8Array[] = [];
    // The exit may come in two pieces, too.
    const decoder = new ChunkDecoder();
    let at = 0;
    let cuts = 0;
    for (let over = false; !over; ) {
      // So long that its window alone ends each session several times before the end.
      for (let reads = 0; reads < 2 && !over; reads++) {
        const bytes = await call.read();
        if (!bytes) throw new Error("it ended without an exit");
        stored.push(bytes);
        at += bytes.length;
        // Every other answer is lost with the connection.
        if (reads % 2) await call.write(encodeControl({ type: "ack", offset: at }));
        for (const part of decoder.push(bytes)) over ||= part.kind === "control" && isExit(part.json);
      }
      if (over) break;
      cuts++;
      call.abort(gone);
      call = await attach(runner, wanted, { offset: at });
    }
    await call.write(encodeControl({ type: "ack", offset: at }));
    const { stdout, stderr, controls, tally } = contentsOf(Buffer.concat(stored));
    const numbers = Array.from({ length: lines }, (_, index) => index + 1);
    expect(stdout.toString()).toBe(numbers.map((number) => `${number}\n`).join(""));
    expect(stderr.toString()).toBe(numbers.map((number) => `e${number}\n`).join(""));
    expect(controls.filter(({ type }) => type === "exit")).toMatchObject([{ code: 0, hash: tally.hash() }]);
    expect(cuts).toBeGreaterThan(3);
  });

  it("is for the owner only: to another peer there is no such job", async () => {
    const wanted = request("sleep 5881", { graceMs: 0 });
    await startJob(runner, wanted);
    const unknown = request("true");
    const answers = (job: JobRequest) =>
      Promise.all(
        [true, false].map((control) =>
          attach(runner, job, { peer: "stranger", control }).then(
            () => "attached",
            (error: Error & { code: string; hint: string }) =>
              `${error.code} ${error.message.replace(job.attemptId, "ID")} ${error.hint}`,
          ),
        ),
      );
    expect(await answers(wanted)).toEqual(await answers(unknown));
    expect((await answers(wanted))[0]).toMatch(/^NOT_FOUND /);
    expect(await listJobs(runner, "stranger")).toEqual([]);
    expect(await codeOf(jobLogs(runner, wanted, { peer: "stranger" }))).toBe("NOT_FOUND");
    expect(await codeOf(startJob(runner, wanted, { peer: "stranger" }))).toBe("DUPLICATE");
  });
});

describe("a reader", () => {
  const forbidden: Record<string, Uint8Array> = {
    stdin: encodeChunk(STDIN, Buffer.from("x")),
    "the end of stdin": encodeControl({ type: "eof" }),
    "a signal": encodeControl({ type: "signal", name: "KILL" as never }),
    "a cancellation": encodeControl({ type: "cancel", by: "user" }),
  };
  for (const [what, bytes] of Object.entries(forbidden)) {
    it(`that sends ${what} is left, and the job goes on`, async () => {
      const wanted = request("cat; echo end", { stdin: true });
      const owner = await startJob(runner, wanted);
      const reading = await attach(runner, wanted, reader);
      await reading.write(bytes);
      expect(await endOf(reading)).toBe("CONNECTION_LOST");
      await owner.write([encodeChunk(STDIN, Buffer.from("mine\n")), encodeControl({ type: "eof" })]);
      expect(await finish(owner)).toMatchObject({ stdout: "mine\nend\n", exit: { reason: "exited", code: 0 } });
    });
  }

  it("one of many, some of whom stall, slows neither the job nor the owner nor the others", async () => {
    const size = 8_000_000;
    const wanted = request(`head -c ${size} /dev/zero`);
    const owner = await startJob(runner, wanted, { window: limits.window });
    const stalled = await Promise.all(Array.from({ length: 5 }, () => attach(runner, wanted, reader)));
    const others = await Promise.all(
      Array.from({ length: 10 }, () => attach(runner, wanted, { ...reader, window: limits.window })),
    );
    const reads = others.map((other) => finish(other));
    const { exit } = await finish(owner);
    expect(exit).toMatchObject({ reason: "exited", code: 0, bytes: { stdout: size, stderr: 0 } });
    for (const { stdout } of await Promise.all(reads)) expect(stdout.length).toBe(size);
    // And those who stalled have lost nothing by it.
    const [late, ...rest] = stalled;
    for (const one of rest) one.abort(gone);
    expect((await finish(late as ByteChannel)).stdout.length).toBe(size);
  });

  it("acknowledges for nobody but itself", async () => {
    const wanted = request("echo x");
    (await startJob(runner, wanted)).abort(gone);
    await running(wanted);
    await finish(await attach(runner, wanted, reader));
    expect(await listJobs(runner)).toMatchObject([{ acknowledged: false, attached: false }]);
    await finish(await attach(runner, wanted));
    expect(
      await until(
        () => listJobs(runner),
        ([job]) => job?.acknowledged === true && !job.attached,
      ),
    ).toMatchObject([{ acknowledged: true, attached: false }]);
  });
});

describe("the owner", () => {
  it("supersedes his session before: one at a time may steer the job", async () => {
    const wanted = request(`${untilGo()}; echo end`);
    const first = await startJob(runner, wanted);
    const second = await attach(runner, wanted);
    expect(await endOf(first)).toBe("CONNECTION_LOST");
    expect(await listJobs(runner)).toMatchObject([{ attached: true }]);
    go();
    expect((await finish(second)).stdout).toBe("end\n");
  });

  it("in another process takes the job over, and the process before it is told that it is no longer its own", async () => {
    const wanted = request(`${untilGo()}; echo end`);
    const first = await startJob(runner, wanted, { holder: "one" });
    const second = await attach(runner, wanted, { holder: "two" });
    expect(await endOf(first)).toBe("CONNECTION_LOST");
    expect(await codeOf(attach(runner, wanted, { holder: "one" }))).toBe("SUPERSEDED");
    // Reading is nobody's privilege.
    (await attach(runner, wanted, { control: false, holder: "one" })).abort(gone);
    second.abort(gone);
    expect(await codeOf(attach(runner, wanted, { holder: "one" }))).toBe("SUPERSEDED");
    go();
    expect((await finish(await attach(runner, wanted, { holder: "two" }))).stdout).toBe("end\n");
  });

  it("signals and cancels through a later session", async () => {
    const wanted = request("trap 'echo got' USR1; echo up; while :; do sleep 0.02; done");
    const first = await startJob(runner, wanted);
    const offset = await untilSaid(first, "up\n");
    first.abort(gone);
    const second = await attach(runner, wanted, { offset });
    await second.write(encodeControl({ type: "signal", name: "USR1" as never }));
    const then = await untilSaid(second, "got\n", { offset });
    second.abort(gone);
    const third = await attach(runner, wanted, { offset: then });
    await third.write(encodeControl({ type: "cancel", by: "user" }));
    expect((await finish(third, then)).exit).toMatchObject({ reason: "cancelled", by: "user" });
  });

  it("sends stdin over many sessions, none of it twice and none of it lost", async () => {
    const wanted = request("cat", { stdin: true });
    const text = Array.from({ length: 200_000 }, (_, index) => `${index}\n`).join("");
    const input = Buffer.from(text);
    let call = await startJob(runner, wanted);
    let sent = 0;
    let cuts = 0;
    const reads: Promise<unknown>[] = [];
    while (sent < input.length) {
      // Drained, so that the process never waits for its output; what counts is what the last session reads.
      reads.push(endOf(call));
      // Cut in the middle of a chunk, too.
      const chunk = encodeChunk(STDIN, input.subarray(sent, sent + 100_000));
      await call.write(chunk.subarray(0, HEADER_BYTES + 40_000));
      if (cuts % 2) await call.write(chunk.subarray(HEADER_BYTES + 40_000));
      await new Promise((resolve) => setImmediate(resolve));
      call.abort(gone);
      cuts++;
      const next = await attach(runner, wanted);
      expect(next.output.stdin).toBeGreaterThanOrEqual(sent);
      expect(next.output.stdin).toBeLessThanOrEqual(sent + 100_000);
      sent = next.output.stdin;
      call = next as typeof call;
    }
    await call.write(encodeControl({ type: "eof" }));
    const { stdout, exit } = await finish(call);
    expect(stdout === text).toBe(true);
    expect(exit).toMatchObject({ reason: "exited", code: 0 });
    expect(cuts).toBeGreaterThan(10);
    await Promise.all(reads);
  });

  it("may say the end of stdin again, where the answer to the first was lost", async () => {
    const wanted = request("cat; sleep 0.2", { stdin: true });
    const first = await startJob(runner, wanted);
    await first.write([encodeChunk(STDIN, Buffer.from("all")), encodeControl({ type: "eof" })]);
    await untilSaid(first, "all");
    first.abort(gone);
    const second = await attach(runner, wanted);
    expect(second.output.stdin).toBe(3);
    await second.write(encodeControl({ type: "eof" }));
    expect((await finish(second)).stdout).toBe("all");
  });
});

describe("the list of jobs", () => {
  it("tells each peer its own, the latest first, and what there is to know of them", async () => {
    const mine = request("sleep 5882", { graceMs: 0 });
    const over = request("echo x");
    await finish(await startJob(runner, over));
    await startJob(runner, mine);
    await startJob(runner, request("sleep 5883", { graceMs: 0 }), { peer: "other" });
    const jobs = await listJobs(runner);
    expect(jobs.map((job) => job.attemptId)).toEqual([mine.attemptId, over.attemptId]);
    const { attemptId, run, job, attempt } = mine;
    expect(jobs[0]).toMatchObject({ attemptId, run, job, attempt, running: true, attached: true, acknowledged: false });
    expect(jobs[1]).toMatchObject({ running: false, attached: false, acknowledged: true });
    expect(jobs[1]?.end).toBeGreaterThan(100);
    expect((await listJobs(runner, "other")).length).toBe(1);
    expect(await listJobs(runner, "third")).toEqual([]);
  });
});

describe("a job's logs as text", () => {
  it("go on at the last offset without loss or repetition, call after call, to the end", async () => {
    const wanted = request(
      `i=0; while [ $i -lt 4000 ]; do i=$((i+1)); echo "line $i ${"x".repeat(600)}"; echo e$i >&2; done`,
    );
    await finish(await startJob(runner, wanted, { window: limits.window }));
    const texts = { stdout: "", stderr: "" };
    let calls = 0;
    for (let offset = 0; ; calls++) {
      const pieces = await jobLogs(runner, wanted, { offset, follow: true });
      for (const { stream, text } of pieces) texts[stream] += text;
      const last = pieces.at(-1);
      if (!last) break;
      expect(last.offset).toBeGreaterThan(offset);
      offset = last.offset;
    }
    expect(texts.stdout.split("\n").map((line) => line.split(" ")[1])).toEqual([
      ...Array.from({ length: 4_000 }, (_, index) => String(index + 1)),
      undefined,
    ]);
    expect(texts.stderr).toBe(Array.from({ length: 4_000 }, (_, index) => `e${index + 1}\n`).join(""));
    expect(calls).toBeGreaterThan(2);
  });

  it("end with what there is so far, or follow to the exit", async () => {
    const wanted = request(`echo one; ${untilGo()}; echo two`);
    await untilSaid(await startJob(runner, wanted), "one\n");
    expect((await jobLogs(runner, wanted)).map(({ text }) => text).join("")).toBe("one\n");
    const following = jobLogs(runner, wanted, { follow: true });
    go();
    const told = await following;
    expect(told.map(({ text }) => text).join("")).toBe("one\ntwo\n");
    expect(told.every(({ at, stream }) => at > 1_000_000_000_000 && stream === "stdout")).toBe(true);
  });

  it("keep characters whole that the process wrote in pieces, and replace what is none", async () => {
    const wanted = request("printf '\\342\\202'; sleep 0.15; printf '\\254 \\377'");
    await finish(await startJob(runner, wanted));
    expect((await jobLogs(runner, wanted)).map(({ text }) => text).join("")).toBe("€ \u{fffd}");
  });

  it("of a quiet job end with their reader, who leaves nothing open at the keeper", async () => {
    const channels: ByteChannel[] = [];
    const own = jobFolder();
    const keeper = await embeddedKeeper(own);
    const open = async () => {
      const channel = await keeper.open();
      channels.push(channel);
      return channel;
    };
    runner = await testRunner(own, { keeper: { ...keeper, open } });
    const wanted = request("sleep 5884", { graceMs: 0 });
    await startJob(runner, wanted);
    for (let round = 0; round < 12; round++) {
      const channel = dial(runner);
      const asking = (async () => {
        const asked = { attemptId: wanted.attemptId, offset: 0, follow: true };
        for await (const _ of subscribe(channel, "/job/logs", asked));
      })().catch(() => {});
      // Left at each moment on its way there.
      for (let turn = 0; turn < round; turn++) await Promise.resolve();
      if (round > 10) await listJobs(runner);
      channel.abort(gone);
      await asking;
    }
    // The keeper's own news, and the job's owner.
    const isOpen = (channel: ByteChannel): boolean => !channel.lost.aborted;
    const left = await until(
      () => channels.filter(isOpen).length,
      (count) => count === 2,
    );
    expect([left, channels.length > 10]).toEqual([2, true]);
  });
});

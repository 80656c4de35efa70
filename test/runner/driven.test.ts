import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import { beforeEach, describe, expect, it } from "vitest";
import { startAttempt } from "../../coordinator/attempt.ts";
import type { ByteChannel } from "../../protocol/channel.ts";
import { encodeChunk, encodeControl, STDIN } from "../../protocol/chunk.ts";
import { SortieError } from "../../protocol/errors.ts";
import { passed } from "../../protocol/exit.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import type { Runner } from "../../runner/runner.ts";
import { containerOf } from "../parity/container.ts";
import { processesOf } from "../rig/processes.ts";
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
import { type Driven, drive, drivenRequest, within } from "./driven-jobs.ts";

const gone = new Error("gone");
const leaseMs = limits.leaseMinimumMs;

let folder: string;
let keeper: KeeperLink;
let runner: Runner;
beforeEach(async () => {
  folder = jobFolder();
  keeper = await embeddedKeeper(folder);
  runner = await testRunner(folder, { keeper });
});

const left = (text: string): Promise<number> =>
  until(
    () => processesOf(text).length,
    (count) => count === 0,
  );

/** The keeper's news may come to its front behind the exit. */
const notBusy = (front: Runner): Promise<number> =>
  until(
    () => front.info().busy,
    (busy) => busy === 0,
  );

/** A command as the coordinator runs one. */
const attemptOf = (
  wanted: JobRequest,
  output: (bytes: Uint8Array) => Promise<void> | void,
  stdin?: AsyncIterable<Uint8Array>,
) =>
  startAttempt({
    link: { id: "test", name: "w1", open: async () => dial(runner) },
    attemptId: wanted.attemptId,
    request: wanted,
    reconnectMs: 1_000,
    stdin,
    sink: { store() {}, output: (_stream, bytes) => output(bytes) },
  });

describe("a driven job", () => {
  it("opens its site, says where its commands run, and ends with the code that its owner gives", async () => {
    for (const code of [0, 7, 255]) {
      const job = await drive(runner);
      expect(existsSync(job.cwd)).toBe(true);
      const { exit, controls } = await job.finish(code);
      expect(controls.map(({ type }) => type)).toEqual(["started", "ready", "exit"]);
      expect(exit).toMatchObject({ reason: "exited", code, bytes: { stdout: 0, stderr: 0 } });
      expect(
        await until(
          () => existsSync(job.cwd),
          (there) => !there,
        ),
      ).toBe(false);
    }
  });

  it("runs fifty commands one after another in one directory, each with a journal and an exit of its own", async () => {
    const job = await drive(runner);
    for (let index = 1; index <= 50; index++) {
      const { stdout, stderr, exit, controls } = await job.run(
        `echo ${index} >> seen; wc -l < seen; pwd >&2; exit ${index}`,
      );
      expect([Number(stdout), stderr]).toEqual([index, `${job.cwd}\n`]);
      expect(exit).toMatchObject({ reason: "exited", code: index, bytes: { stderr: job.cwd.length + 1 } });
      expect(exit.hash).toBeDefined();
      // One for each tenth of a second in which it wrote.
      expect([...new Set(controls.map(({ type }) => type))]).toEqual(["started", "mark", "exit"]);
      expect(controls.at(-1)?.type).toBe("exit");
    }
    expect((await job.finish()).exit).toMatchObject({ reason: "exited", code: 0 });
  });

  it("adds a command's variables to its own, and keeps Sortie's", async () => {
    const job = await drive(runner, {
      env: [
        ["ONE", "job"],
        ["TWO", "job"],
      ],
    });
    const script = 'echo "$ONE $TWO $THREE $SORTIE_JOB $SORTIE_ATTEMPT $SORTIE_ATTEMPT_ID $SORTIE_COMMAND_ID"';
    const command = job.command(script, {
      env: [
        ["TWO", "command"],
        ["THREE", "command"],
      ],
    });
    expect((await finish(await startJob(runner, command))).stdout).toBe(
      `job command command job 1 ${job.wanted.attemptId} ${command.attemptId}\n`,
    );
    expect((await job.run('echo "$ONE $TWO ${THREE-none}"')).stdout).toBe("job job none\n");
    await job.finish();
  });

  it("runs a command in another directory: absolute, or below its own; and tells one that is missing", async () => {
    const job = await drive(runner);
    await job.run("mkdir -p a/b");
    expect((await job.run("pwd", { cwd: "a/b" })).stdout).toBe(`${join(job.cwd, "a/b")}\n`);
    expect((await job.run("pwd", { cwd: "/" })).stdout).toBe("/\n");
    expect((await job.run("pwd", { cwd: "no" })).exit).toMatchObject({
      reason: "failed-to-start",
      stage: "workdir",
      message: `the working directory ${join(job.cwd, "no")} is not there`,
    });
    expect((await job.run("", { steps: [{ argv: ["no-such-command"] }] })).exit).toMatchObject({
      reason: "failed-to-start",
      code: 127,
    });
    await job.finish();
  });

  it("is told in the list, and so are its commands, by it", async () => {
    const job = await drive(runner);
    const command = job.command("echo x");
    await finish(await startJob(runner, command));
    const [second, first] = await listJobs(runner);
    expect([first?.attemptId, first?.within, first?.running]).toEqual([job.wanted.attemptId, undefined, true]);
    expect([second?.attemptId, second?.within, second?.running]).toEqual([
      command.attemptId,
      job.wanted.attemptId,
      false,
    ]);
    await job.finish();
  });

  it("has the slot, and its commands none", async () => {
    const small = await testRunner(jobFolder(), { slots: 1 });
    const job = await drive(small);
    expect(small.info().busy).toBe(1);
    expect(await codeOf(startJob(small, request("true")))).toBe("RUNNER_FULL");
    const calls = await Promise.all(["echo 1", "echo 2", "echo 3"].map((script) => job.start(script)));
    expect((await Promise.all(calls.map((call) => finish(call)))).map(({ stdout }) => stdout)).toEqual([
      "1\n",
      "2\n",
      "3\n",
    ]);
    expect(small.info().busy).toBe(1);
    await job.finish();
    expect(await notBusy(small)).toBe(0);
  });

  it("takes commands also by a front with fewer slots than it has", async () => {
    const job = await drive(runner, { slots: 2 });
    const smaller = await testRunner(folder, { keeper: { ...keeper, close: async () => {} }, slots: 1 });
    expect((await finish(await startJob(smaller, job.command("echo x")))).stdout).toBe("x\n");
    await job.finish();
  });

  it("cannot be opened in a directory that is not there: it never started, and took no command", async () => {
    const wanted = drivenRequest({ cwd: "/no/such/folder" });
    const { exit, controls } = await finish(await startJob(runner, wanted));
    expect(exit).toMatchObject({ reason: "failed-to-start", stage: "workdir" });
    expect(controls.map(({ type }) => type)).toEqual(["started", "exit"]);
    expect(await codeOf(startJob(runner, within(wanted, "true")))).toBe("NOT_FOUND");
    expect(await notBusy(runner)).toBe(0);
  });

  it("lets two commands run at once and feed each other, far more than both windows hold", async () => {
    const job = await drive(runner);
    const MiB = 1024 * 1024;
    const pipe = new PassThrough({ highWaterMark: 64 * 1024 });
    let most = 0;
    const target = job.command("sleep 0.5; wc -c", { stdin: true });
    let counted = "";
    const counting = await attemptOf(target, (bytes) => void (counted += Buffer.from(bytes)), pipe);
    const source = await attemptOf(job.command(`head -c ${32 * MiB} /dev/zero`), async (bytes) => {
      if (!pipe.write(Buffer.from(bytes))) await once(pipe, "drain");
      most = Math.max(most, pipe.writableLength);
    });
    expect(passed((await source.end).exit)).toBe(true);
    pipe.end();
    expect(passed((await counting.end).exit)).toBe(true);
    expect(Number(counted)).toBe(32 * MiB);
    expect(most).toBeLessThan(MiB);
    await job.finish();
  });
});

describe("the end of a driven job", () => {
  // Its shell, a child in its group, and one that left the group.
  const tree = (mark: number): string => `sleep ${mark} & setsid sleep ${mark} & echo up; wait`;

  it("is told with finish, once; a command that still runs is ended first, and says so", async () => {
    const job = await drive(runner, { graceMs: 300 });
    const call = await job.start(`trap 'echo bye; exit 3' TERM; ${tree(4975)}`);
    const offset = await untilSaid(call, "up\n");
    const ending = finish(call, offset);
    await job.send({ type: "finish", code: 5 });
    await job.send({ type: "finish", code: 6 });
    await job.send({ type: "cancel", by: "user" });
    const { exit, stdout } = await ending;
    expect(stdout).toBe("bye\n");
    expect(exit).toMatchObject({ reason: "cancelled", by: "job", code: 3 });
    expect((await job.end).exit).toMatchObject({ reason: "exited", code: 5 });
    expect(await left("sleep\x004975")).toBe(0);
  });

  it("comes after those of its commands, and takes no longer than its own grace", async () => {
    const job = await drive(runner, { graceMs: 300 });
    const call = await job.start("trap '' TERM; echo up; while :; do sleep 0.05; done", { graceMs: 60_000 });
    const offset = await untilSaid(call, "up\n");
    const ending = finish(call, offset);
    const began = performance.now();
    await job.send({ type: "cancel", by: "user" });
    const { exit } = await job.end;
    // Not by what is read first: each has a journal of its own, and a busy disk may take the second before the first.
    expect((await listJobs(runner)).map(({ running }) => running)).toEqual([false, false]);
    expect((await ending).exit).toMatchObject({ reason: "cancelled", by: "user", signal: "KILL" });
    expect(exit).toMatchObject({ reason: "cancelled", by: "user", code: null, signal: null });
    expect(performance.now() - began).toBeLessThan(30_000);
  });

  it("by a cancellation, its time or its lease is that of all its commands, whole trees", async () => {
    /** How long the commands of the first case took to be up: a time that is over before that ends none of them. */
    let took = 0;
    const cases = [
      () => ({
        more: {},
        end: async (job: Driven) => job.send({ type: "cancel", by: "run" }),
        exit: { reason: "cancelled", by: "run" },
      }),
      () => {
        const timeoutMs = Math.round(1_500 + 10 * took);
        return { more: { timeoutMs }, end: async () => {}, exit: { reason: "timeout", timeoutMs } };
      },
      () => ({ more: { leaseMs }, end: async (job: Driven) => job.call.abort(gone), exit: { reason: "lease" } }),
    ];
    for (const one of cases) {
      const { more, end, exit } = one();
      const began = performance.now();
      const job = await drive(runner, { ...more, graceMs: 300 });
      job.end.catch(() => {});
      const calls = [await job.start(tree(7901)), await job.start(tree(7902)), await job.start("exec sleep 4976")];
      const offset = await untilSaid(calls[0] as never, "up\n");
      took ||= performance.now() - began;
      const reads = calls.map((call, index) => finish(call, index === 0 ? offset : 0));
      await end(job);
      for (const read of await Promise.all(reads)) expect(read.exit).toMatchObject({ ...exit, signal: "TERM" });
      const again = await attach(runner, job.wanted);
      expect((await finish(again)).exit).toMatchObject({ ...exit, code: null });
      for (const mark of [7901, 7902, 4976]) expect(await left(`sleep\x00${mark}`)).toBe(0);
      expect(await codeOf(startJob(runner, job.command("true")))).toBe("NOT_FOUND");
    }
  });

  it("ends what a command left running behind its back", async () => {
    const job = await drive(runner);
    await job.run("(setsid sleep 4875 >/dev/null 2>&1 </dev/null &); sleep 0.1");
    await job.finish();
    expect(await left("sleep\x004875")).toBe(0);
  });

  it("is told again by a coordinator that was cut off when it said so", async () => {
    const channels: ByteChannel[] = [];
    const open = async (): Promise<ByteChannel> => {
      channels.push(dial(runner));
      return channels.at(-1) as ByteChannel;
    };
    const wanted = drivenRequest();
    const ready = Promise.withResolvers<void>();
    const attempt = await startAttempt({
      link: { id: "test", name: "w1", open },
      attemptId: wanted.attemptId,
      request: wanted,
      reconnectMs: 30_000,
      sink: {
        store() {},
        output() {},
        control: ({ type }) => (type === "ready" ? ready.resolve() : undefined),
      },
    });
    await ready.promise;
    channels[0]?.abort(new SortieError("CONNECTION_LOST", "gone"));
    attempt.finish(9);
    attempt.finish(10);
    expect((await attempt.end).exit).toMatchObject({ reason: "exited", code: 9 });
    expect(channels.length).toBeGreaterThan(1);
  });

  it("is told also while it is being opened", async () => {
    const wanted = drivenRequest();
    const call = await startJob(runner, wanted);
    await call.write(encodeControl({ type: "finish", code: 4 }));
    expect((await finish(call)).exit).toMatchObject({ reason: "exited", code: 4 });
  });
});

describe("a command within", () => {
  it("is cancelled, and out of its own time, alone", async () => {
    const job = await drive(runner);
    const other = await job.start("sleep 1.5; echo other");
    const call = await job.start("sleep 4977 & setsid sleep 4977 & echo up; wait");
    const offset = await untilSaid(call, "up\n");
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    expect((await finish(call, offset)).exit).toMatchObject({ reason: "cancelled", by: "user" });
    expect(await left("sleep\x004977")).toBe(0);
    expect((await job.run("exec sleep 4978", { timeoutMs: 100 })).exit).toMatchObject({
      reason: "timeout",
      timeoutMs: 100,
    });
    expect((await finish(other)).stdout).toBe("other\n");
    expect((await job.run("echo more")).stdout).toBe("more\n");
    await job.finish();
  });

  it("gets signals of its own, and those of its job", async () => {
    const job = await drive(runner);
    const script = "trap 'echo got; exit 0' USR1; echo up; while :; do sleep 0.02; done";
    const calls = [await job.start(script), await job.start(script)] as const;
    const offsets = [await untilSaid(calls[0], "up\n"), await untilSaid(calls[1], "up\n")] as const;
    await calls[0].write(encodeControl({ type: "signal", name: "USR1" }));
    expect((await finish(calls[0], offsets[0])).stdout).toBe("got\n");
    await job.send({ type: "signal", name: "USR1" });
    expect((await finish(calls[1], offsets[1])).stdout).toBe("got\n");
    await job.finish();
  });

  it("reads stdin of its own, and its journal is attached to and read like any other", async () => {
    const job = await drive(runner);
    const command = job.command("cat; echo end", { stdin: true });
    const call = await startJob(runner, command);
    await call.write(encodeChunk(STDIN, Buffer.from("one\n")));
    await untilSaid(call, "one\n");
    call.abort(gone);
    const again = await attach(runner, command);
    expect(again.output.stdin).toBe(4);
    await again.write(encodeChunk(STDIN, Buffer.from("two\n")));
    await again.write(encodeControl({ type: "eof" }));
    expect((await finish(again)).stdout).toBe("one\ntwo\nend\n");
    expect((await jobLogs(runner, command)).map(({ text }) => text).join("")).toBe("one\ntwo\nend\n");
    await job.finish();
  });

  it("lives by its job's session: it goes on without its own, beyond the lease", async () => {
    const job = await drive(runner, { leaseMs });
    const command = job.command("sleep 2; echo end");
    (await startJob(runner, command)).abort(gone);
    await until(
      () => listJobs(runner),
      ([state]) => state?.running === false,
    );
    expect(await finish(await attach(runner, command))).toMatchObject({ stdout: "end\n", exit: { reason: "exited" } });
    await job.finish();
  });

  it("does not keep up the lease of a job whose own session is gone, and a new one does", async () => {
    const job = await drive(runner, { leaseMs });
    job.end.catch(() => {});
    const call = await job.start("sleep 1.8; echo end");
    job.call.abort(gone);
    await new Promise((resolve) => setTimeout(resolve, leaseMs / 2));
    const again = await attach(runner, job.wanted);
    expect((await finish(call)).stdout).toBe("end\n");
    const late = await job.start("exec sleep 4979");
    again.abort(gone);
    expect((await finish(late)).exit.reason).toBe("lease");
  });

  it("is refused where there is no such job for this peer that takes commands", async () => {
    const job = await drive(runner);
    const plain = request("exec sleep 4980");
    const other = await startJob(runner, plain);
    const codes = await Promise.all(
      [
        startJob(runner, within(drivenRequest(), "true")),
        startJob(runner, job.command("true"), { peer: "another" }),
        startJob(runner, within(plain, "true")),
      ].map(codeOf),
    );
    expect(codes).toEqual(["NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]);
    const nested = job.command("exec sleep 4885");
    const outer = await startJob(runner, nested);
    expect(await codeOf(startJob(runner, within(nested, "true")))).toBe("NOT_FOUND");
    for (const call of [other, outer]) await call.write(encodeControl({ type: "cancel", by: "user" }));
    await Promise.all([finish(other), finish(outer)]);
    await job.finish();
    expect(await codeOf(job.start("true"))).toBe("NOT_FOUND");
  });

  it("is refused where its request asks for what only its job may have", async () => {
    const job = await drive(runner);
    const wrong: Partial<JobRequest>[] = [
      { slots: 1 },
      { leaseMs: 5_000 },
      { user: "root" },
      { limits: {} },
      { nice: 1 },
      { umask: 0 },
      { ssh: { host: "h" } },
      { container: containerOf("alpine") },
      { steps: [] },
      { steps: [{ shell: "" }, { shell: "" }] },
      { driven: true, steps: [] },
    ];
    for (const more of wrong) expect([more, await codeOf(job.start("true", more))]).toEqual([more, "PROTOCOL"]);
    const alone: Partial<JobRequest>[] = [{ steps: [] }, { driven: true }, { cwd: "relative" }];
    for (const more of alone)
      expect([more, await codeOf(startJob(runner, request("true", more)))]).toEqual([more, "PROTOCOL"]);
    expect(await codeOf(startJob(runner, drivenRequest({ stdin: true })))).toBe("PROTOCOL");
    await job.finish();
  });

  it("cannot be finished, nor can a job with steps: that ends the session, and not the job", async () => {
    const job = await drive(runner);
    const command = job.command("sleep 0.3; echo end");
    const call = await startJob(runner, command);
    await call.write(encodeControl({ type: "finish", code: 0 }));
    expect(await endOf(call)).toBe("CONNECTION_LOST");
    expect((await finish(await attach(runner, command))).stdout).toBe("end\n");
    await job.finish();
  });
});

describe("a runner that drains", () => {
  it("takes commands of driven jobs that run, and is idle once those are over", async () => {
    const job = await drive(runner);
    runner.drain();
    expect(await codeOf(startJob(runner, request("true")))).toBe("RUNNER_DRAINING");
    expect((await job.run("echo x")).stdout).toBe("x\n");
    await job.finish();
    await runner.idle;
    expect(await codeOf(job.start("true"))).toBe("NOT_FOUND");
  });

  it("takes them also where it takes one job, and is not done before that", async () => {
    const single = await testRunner(jobFolder(), { once: true });
    const job = await drive(single);
    expect((await job.run("exit 3")).exit).toMatchObject({ reason: "exited", code: 3 });
    expect(await codeOf(startJob(single, within(drivenRequest(), "true")))).toBe("NOT_FOUND");
    expect((await job.run("echo x")).stdout).toBe("x\n");
    expect(await codeOf(startJob(single, request("true")))).toBe("RUNNER_DRAINING");
    await job.finish();
    await single.idle;
  });

  it("cancels commands with their jobs where it is told to", async () => {
    const job = await drive(runner);
    const call = await job.start("exec sleep 4886");
    const ending = finish(call);
    await runner.cancelAll();
    expect((await ending).exit).toMatchObject({ reason: "cancelled", by: "runner" });
    expect((await job.end).exit).toMatchObject({ reason: "cancelled", by: "runner" });
  });
});

describe("a step's own time", () => {
  it("ends its job, and the exit says which step and how long", async () => {
    const steps = [
      { shell: "echo one", timeoutMs: 30_000 },
      { shell: "exec sleep 4887", timeoutMs: 200 },
      { shell: "echo never" },
    ];
    const { exit, stdout } = await finish(await startJob(runner, request("", { steps, timeoutMs: 60_000 })));
    expect(stdout).toBe("one\n");
    expect(exit).toMatchObject({ reason: "timeout", timeoutMs: 200, step: 1, signal: "TERM" });
    const alone = request("", { steps: [{ argv: ["sleep", "4888"], timeoutMs: 100 }] });
    expect((await finish(await startJob(runner, alone))).exit).toMatchObject({
      reason: "timeout",
      timeoutMs: 100,
      step: 0,
    });
  });

  it("is told as such also where the step goes on to exit 0, and is not the next one's", async () => {
    // A time that is over before the shell is up, or done, is no such case: then it gets twice as long.
    for (let timeoutMs = 1_000, isUp = false; !isUp; timeoutMs *= 2) {
      const shell = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";
      const steps = [{ shell, timeoutMs }, { shell: "echo never" }];
      const { exit, stdout } = await finish(await startJob(runner, request("", { steps })));
      isUp = stdout !== "";
      if (isUp) expect([stdout, exit]).toMatchObject(["up\n", { reason: "timeout", timeoutMs, step: 0, code: 0 }]);
    }
    for (let timeoutMs = 1_000, isDone = false; !isDone; timeoutMs *= 2) {
      const steps = [{ shell: "true", timeoutMs }, { shell: `sleep ${timeoutMs / 1_000 + 0.3}; echo end` }];
      const { exit, stdout } = await finish(await startJob(runner, request("", { steps })));
      isDone = exit.reason !== "timeout" || exit.step !== 0;
      if (isDone) expect([stdout, exit]).toMatchObject(["end\n", { reason: "exited", code: 0 }]);
    }
  });

  it("gives way to the job's time where that is shorter", async () => {
    const steps = [{ shell: "exec sleep 4889", timeoutMs: 5_000 }];
    const { exit } = await finish(await startJob(runner, request("", { steps, timeoutMs: 100 })));
    expect(exit).toMatchObject({ reason: "timeout", timeoutMs: 100 });
    expect(exit.step).toBeUndefined();
  });
});

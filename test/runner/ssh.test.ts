import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { allProcesses, argumentsOf, processesOf, processesRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { logins, type Sshd, startSshd, whyNoSshd } from "../rig/sshd.ts";
import { collect, type SshJobs, sshJobs } from "./ssh-jobs.ts";

const why = whyNoSshd();
if (why) console.log(why);

describe.skipIf(why).each(logins)("a job over ssh as %s", (login) => {
  let sshd: Sshd;
  let jobs: SshJobs;
  beforeAll(async () => {
    sshd = await startSshd({ login });
    jobs = sshJobs(sshd.config);
  });
  afterAll(async () => {
    try {
      await jobs[Symbol.asyncDispose]();
    } finally {
      await sshd[Symbol.asyncDispose]();
    }
  });

  it("tells the exit that the host tells, code or signal", async () => {
    for (const code of [0, 1, 7, 126, 127, 128, 137, 255])
      expect((await jobs.sh(`exit ${code}`)).settled).toEqual({ kind: "exited", code, heldOpen: false });
    for (const signal of [
      "HUP",
      "INT",
      "QUIT",
      "ILL",
      "ABRT",
      "FPE",
      "KILL",
      "SEGV",
      "PIPE",
      "ALRM",
      "TERM",
      "USR1",
      "USR2",
    ])
      expect((await jobs.sh(`kill -${signal} $$`)).settled).toEqual({ kind: "signaled", signal, heldOpen: false });
  });

  it("says nothing exact of a signal that the server has no name for, and never passes it", async () => {
    expect((await jobs.sh("kill -BUS $$")).settled).toEqual({
      kind: "exited",
      code: 255,
      ambiguous: true,
      heldOpen: false,
    });
  });

  it("tells what cannot be started as a shell would, and where", async () => {
    const plain = join(sshd.folder, "plain");
    writeFileSync(plain, "text", { mode: 0o644 });
    const script = join(sshd.folder, "script");
    writeFileSync(script, "#!/no-such-place/interpreter\n", { mode: 0o755 });
    const refusals: [readonly string[], object, object][] = [
      [["no-such-command"], {}, { stage: "command", code: 127, message: "no-such-command: command not found" }],
      [["/no-such-place/command"], {}, { stage: "command", code: 127 }],
      [[`/${"x".repeat(300)}`], {}, { stage: "command", code: 126 }],
      [[plain], {}, { stage: "command", code: 126, message: `${plain}: not executable` }],
      [[sshd.folder], {}, { stage: "command", code: 126 }],
      [[script], {}, { stage: "command", code: 127, message: `${script}: its interpreter was not found` }],
      [["true"], { cwd: "/no-such-place/directory" }, { stage: "workdir", code: null }],
      [
        ["true"],
        { cwd: plain },
        { stage: "workdir", code: null, message: `the working directory ${plain} is no directory` },
      ],
      [["true", "x".repeat(200_000)], {}, { stage: "spawn", code: null }],
      [["true", ...Array.from({ length: 40 }, () => "x".repeat(100_000))], {}, { stage: "spawn", code: null }],
    ];
    for (const [argv, options, refusal] of refusals)
      expect((await jobs.run({ argv: [...argv] }, options)).settled).toMatchObject({ kind: "failed", ...refusal });
  });

  it("hands arguments and variables on as they are", async () => {
    const all = Array.from({ length: 127 }, (_, code) => String.fromCharCode(code + 1)).join("");
    const args = [
      "",
      " ",
      all,
      "'",
      '"',
      "$(id)",
      "`id`",
      "a\nb",
      "\n",
      "😀",
      "é\u0081\u0088",
      "-n",
      "--",
      "\\",
      "*",
      "!x",
      "x".repeat(100_000),
    ];
    expect((await jobs.run({ argv: ["printf", "%s\\0", ...args] })).stdout.split("\0").slice(0, -1)).toEqual(args);
    const env: [string, string][] = [
      ["NASTY", all],
      ["IFS", "x:"],
      ["UID", "12"],
      ["RANDOM", "7"],
      ["SHLVL", "99"],
      ["OPTIND", "text"],
      ["_", "under"],
      ["LC_ALL", "no_SUCH.locale"],
    ];
    const { stdout } = await jobs.run({ argv: ["env", "-0"] }, { env });
    const seen = new Map(stdout.split("\0").map((pair) => [pair.split("=")[0], pair.slice(pair.indexOf("=") + 1)]));
    expect(env.map(([name]) => [name, seen.get(name)])).toEqual(env);
    expect([seen.get("CI"), seen.get("SORTIE"), seen.get("USER"), seen.get("HOME")]).toEqual([
      "true",
      "1",
      sshd.user,
      sshd.home,
    ]);
  });

  it("runs a program by a name that begins with a hyphen, and finds it by the job's own PATH", async () => {
    writeFileSync(join(sshd.folder, "-odd"), '#!/bin/sh\necho "$0" "$@"\n', { mode: 0o755 });
    const env: [string, string][] = [["PATH", `${sshd.folder}:/bin`]];
    expect((await jobs.run({ argv: ["-odd", "a"] }, { env })).stdout).toBe(`${sshd.folder}/-odd a\n`);
    expect((await jobs.run({ argv: ["true"] }, { env: [["PATH", "/no/where"]] })).settled).toMatchObject({ code: 127 });
  });

  it("starts a script of 300 KB, and of one that is not read to its end nothing", async () => {
    const { settled, stdout } = await jobs.sh(`${"# a comment\n".repeat(10_000)}echo end`);
    expect([settled, stdout]).toEqual([{ kind: "exited", code: 0, heldOpen: false }, "end\n"]);
  });

  it("drops what the login's profile prints, on both outputs, and only that", async () => {
    const rc = join(sshd.home, ".bashrc");
    writeFileSync(
      rc,
      'printf "%s\\n" "welcome sortie- "; seq 20000; printf "noise without an end"; echo oops >&2; printf x >&2\n',
    );
    try {
      expect(await jobs.sh("echo mine; echo own >&2; exit 3")).toEqual({
        settled: { kind: "exited", code: 3, heldOpen: false },
        stdout: "mine\n",
        stderr: "own\n",
      });
    } finally {
      writeFileSync(rc, "");
    }
  });

  it("keeps the values of variables and of secrets' files out of what other users can see", async () => {
    const secret = `s3cret-${newAttemptId()}`;
    const secrets = [{ as: "file" as const, name: "KEY", value: secret }];
    const job = await jobs.open({ env: [["TOKEN", secret]], secrets, cwd: "/" });
    const seenEnough = join(sshd.folder, "seen-enough");
    const waits = `echo go; while [ ! -e ${seenEnough} ]; do sleep 0.05; done`;
    const starting = job.startUntil({ shell: `${waits}; [ "$(cat "$KEY_FILE")" = "$TOKEN" ]` }, /go/);
    let looks = 0;
    let over = false;
    const seen: string[] = [];
    const look = async (): Promise<void> => {
      for (; !over; looks++) {
        seen.push(
          ...allProcesses()
            .map(argumentsOf)
            .filter((line) => line.includes(secret)),
        );
        await delay(0);
      }
    };
    const looking = look();
    const { result } = await starting;
    const before = looks;
    await until(
      () => looks,
      (now) => now > before + 5,
    );
    writeFileSync(seenEnough, "");
    expect((await result).settled).toMatchObject({ code: 0 });
    over = true;
    await looking;
    await job.site.close();
    expect(looks).toBeGreaterThan(before + 5);
    rmSync(seenEnough);
    expect(seen).toEqual([]);
    expect(job.marks.join()).not.toContain(secret);
  });

  it("gives a job a directory of its own for all of its steps, and removes it with all that is in it", async () => {
    const job = await jobs.open();
    const first = await job.run({ shell: "umask; pwd; mkdir -p a/b; echo kept > a/b/file; chmod 0 a/b" });
    const directory = first.stdout.split("\n")[1] ?? "";
    expect(readdirSync(directory)).toEqual(["a"]);
    expect(await job.run({ shell: "pwd; ls" })).toMatchObject({ stdout: `${directory}\na\n` });
    await job.site.close();
    expect(() => readdirSync(directory)).toThrow("ENOENT");
    expect(jobs.logged).toEqual([]);
  });

  it("sets the umask and the nice value", async () => {
    expect((await jobs.sh("umask; nice", { umask: 0o27, nice: 7 })).stdout).toBe("0027\n7\n");
    const negative = await jobs.sh("nice", { nice: -3 });
    if (login === "root") expect(negative.stdout).toBe("-3\n");
    else
      expect(negative.settled).toMatchObject({
        kind: "failed",
        stage: "spawn",
        message: expect.stringContaining("nice"),
      });
  });

  it("feeds stdin of no byte, one byte and 64 MiB, and none where none was asked for", async () => {
    for (const size of [0, 1, 64 * 1024 * 1024]) {
      const { stdout } = await jobs.run({ argv: ["wc", "-c"] }, {}, Buffer.alloc(size, "x"));
      expect(stdout.trim()).toBe(String(size));
    }
    expect(await jobs.sh("cat; readlink /proc/self/fd/0")).toMatchObject({ stdout: "/dev/null\n" });
  });

  it("is not held up by stdin that is never read, closed at once, or left early", async () => {
    const input = Buffer.alloc(16 * 1024 * 1024, "x");
    expect((await jobs.run({ argv: ["true"] }, {}, input)).settled).toMatchObject({ code: 0 });
    expect((await jobs.run({ shell: "exec <&-; sleep 0.1; exit 3" }, {}, input)).settled).toMatchObject({ code: 3 });
    expect((await jobs.run({ argv: ["head", "-c", "3"] }, {}, input)).stdout).toBe("xxx");
  });

  it("writes to stdin as fast as it is read, and no faster", async () => {
    const job = await jobs.open({ stdin: true });
    const go = join(sshd.folder, "go");
    const script = `echo ready; while [ ! -e ${go} ]; do sleep 0.05; done; wc -c`;
    const { running, result } = await job.startUntil({ shell: script }, /ready/);
    const piece = Buffer.alloc(1024 * 1024, "x");
    let taken = 0;
    const writing = (async () => {
      for (let sent = 0; sent < 32; sent++)
        await new Promise<void>((resolve) =>
          running.stdin?.write(piece, () => {
            taken++;
            resolve();
          }),
        );
    })();
    let before = -1;
    await until(
      async () => {
        before = taken;
        await delay(200);
        return taken;
      },
      (now) => now === before,
    );
    // The server's window is two, and a pipe holds a sixteenth.
    expect(taken).toBeLessThan(8);
    writeFileSync(go, "");
    await writing;
    running.stdin?.end();
    expect(await result).toMatchObject({ settled: { code: 0 }, stdout: `ready\n${32 * 1024 * 1024}\n` });
    rmSync(go);
    await job.site.close();
  });

  it("reads no more than is consumed, and loses nothing of both outputs", async () => {
    const job = await jobs.open({ cwd: "/" });
    const go = join(sshd.folder, "go");
    const zeros = "head -c 67108864 /dev/zero";
    const running = await job.start({
      shell: `${zeros} >&2 & until [ -e ${go} ]; do sleep 0.05; done; ${zeros}; wait`,
    });
    running.stderr.pause();
    // One output is full before the other one begins, whichever of them would have been faster.
    await until(
      () => running.stderr.readableLength,
      (length) => length >= limits.sshOutputBytes,
    );
    writeFileSync(go, "");
    const before = process.memoryUsage().arrayBuffers;
    let got = 0;
    running.stdout.on("data", (bytes: Buffer) => (got += bytes.length));
    let last = -1;
    await until(
      async () => {
        last = got;
        await delay(300);
        return got;
      },
      (now) => now === last,
    );
    expect(got).toBeLessThan(64 * 1024 * 1024);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(32 * 1024 * 1024);
    let errors = 0;
    running.stderr.on("data", (bytes: Buffer) => (errors += bytes.length));
    running.stderr.resume();
    expect(await running.settled).toMatchObject({ code: 0, heldOpen: false });
    expect([got, errors]).toEqual([64 * 1024 * 1024, 64 * 1024 * 1024]);
    rmSync(go);
    await job.site.close();
  });

  it("ends what a grandchild holds open, after a quiet while, with the command's own code", async () => {
    expect(await jobs.sh("sleep 7301 & echo mine; exit 5")).toMatchObject({
      settled: { kind: "exited", code: 5, heldOpen: true },
      stdout: "mine\n",
    });
    expect((await jobs.sh("setsid sleep 7302 & exit 6")).settled).toEqual({ kind: "exited", code: 6, heldOpen: true });
  });

  it("ends a daemon that closed its outputs when the job is closed", async () => {
    const { settled } = await jobs.sh(
      "setsid -f sleep 7303 >/dev/null 2>&1 </dev/null; (env -i sleep 7304 >/dev/null 2>&1 &)",
    );
    expect(settled).toEqual({ kind: "exited", code: 0, heldOpen: false });
    expect([...processesOf("sleep\x007303"), ...processesOf("sleep\x007304")]).toEqual([]);
  });

  it("sends a signal to the whole tree", async () => {
    const job = await jobs.open();
    const script = `trap 'echo outer; exit 4' USR1; setsid sh -c 'trap "echo inner; exit" USR1; echo two; while :; do sleep 0.05; done' &
      echo one; while :; do sleep 0.05; done`;
    const { running, result } = await job.startUntil({ shell: script }, /(one[\s\S]*two|two[\s\S]*one)/);
    running.signal("USR1");
    const { settled, stdout } = await result;
    expect(settled).toMatchObject({ kind: "exited", code: 4 });
    expect(stdout.split("\n").sort()).toEqual(["", "inner", "one", "outer", "two"]);
    await job.site.close();
  });

  it("loses no signal that is sent as soon as the command is there", async () => {
    for (let round = 0; round < 10; round++) {
      const job = await jobs.open({ cwd: "/" });
      const running = await job.start({ argv: ["sleep", "7305"] });
      running.signal("TERM");
      expect((await collect(running)).settled.kind).toBe("signaled");
      await job.site.close();
    }
  });

  it("ends the whole tree by TERM, by KILL what ignores it, and tells which and how", async () => {
    const job = await jobs.open();
    const script = `setsid sleep 7306 & nohup sleep 7307 >/dev/null 2>&1 &
      setsid sh -c 'trap "" TERM; echo stubborn; while :; do sleep 7308; done' & (setsid -f sleep 7309); env -i sleep 7310 &
      echo up; wait`;
    const { running, result } = await job.startUntil({ shell: script }, /(up[\s\S]*stubborn|stubborn[\s\S]*up)/);
    await until(
      () => ["7306", "7307", "7308", "7309", "7310"].map((seconds) => processesRunning("sleep", seconds).length),
      (counts) => counts.every((count) => count === 1),
    );
    const began = performance.now();
    const ending = await running.kill(1_500);
    expect(performance.now() - began).toBeLessThan(20_000);
    expect(await running.kill(1_500)).toBe(ending);
    expect((await result).settled).toMatchObject({ kind: "signaled", signal: "TERM" });
    expect(ending.survivors).toEqual([]);
    const by = (how: string): string[] => ending.ended.filter((each) => each.by === how).map(({ name }) => name);
    // What it starts ignores it as well.
    expect(by("KILL").sort()).toEqual(["sh", "sleep"]);
    expect(by("TERM").filter((name) => name === "sleep").length).toBeGreaterThanOrEqual(4);
    for (const seconds of [7306, 7307, 7308, 7309, 7310]) expect(processesOf(`sleep\0${seconds}`)).toEqual([]);
    await job.site.close();
  });

  it("ends at once what leaves at TERM, whatever the grace", async () => {
    const job = await jobs.open();
    const { running } = await job.startUntil({ shell: "echo up; sleep 7311" }, /up/);
    const began = performance.now();
    const ending = await running.kill(60_000);
    expect(performance.now() - began).toBeLessThan(30_000);
    expect(ending.ended.every(({ by }) => by === "TERM")).toBe(true);
    await running.settled;
    expect(await running.kill(0)).toBe(ending);
    running.signal("TERM");
    await job.site.close();
  });

  it("ends what forks faster than it is looked for", async () => {
    const job = await jobs.open();
    const { running, result } = await job.startUntil(
      {
        shell: `echo up; i=0; while [ $i -lt 400 ]; do i=$((i+1)); setsid sh -c 'trap "" TERM; sleep 7312' & done; wait`,
      },
      /up/,
    );
    expect((await running.kill(0)).survivors).toEqual([]);
    await result;
    expect(processesOf("sleep\x007312")).toEqual([]);
    await job.site.close();
  });

  it("reaps what a dead keeper's job left, by its mark alone", async () => {
    const job = await jobs.open();
    const { result } = await job.startUntil(
      { shell: "setsid -f sleep 7313; env -i sleep 7314 & pwd; echo up; wait" },
      /up/,
    );
    const directory = /^\/.*/m.exec((await job.start({ argv: ["pwd"] }).then(collect)).stdout)?.[0] ?? "";
    expect(job.marks.length).toBeGreaterThan(1);
    for (const mark of job.marks) expect(mark.length).toBeLessThan(1_000);
    // The keeper after it has a backend of its own, and the mark from the time the first command ran.
    const next = sshJobs(sshd.config);
    await next.backend.reap(job.request.attemptId, job.marks[1] ?? "");
    await result;
    expect([...processesOf(job.request.attemptId), ...processesOf("sleep\x007314")]).toEqual([]);
    expect(() => readdirSync(directory)).toThrow("ENOENT");
    // Asked again there is nothing to be done.
    await next.backend.reap(job.request.attemptId, job.marks[0] ?? "");
    await next[Symbol.asyncDispose]();
    expect(next.logged).toEqual([]);
  });
});

// What every backend must do, as one suite: each backend's own test runs it.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Command } from "../../protocol/command.ts";
import { type AttemptId, newAttemptId } from "../../protocol/ids.ts";
import type { Backend, RunningCommand, Settled, Site } from "../../runner/keeper/backends/backend.ts";
import { processesOf, processesRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { request } from "../runner/calls.ts";

interface Result {
  readonly settled: Settled;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

export function backendContract(name: string, open: (folder: string) => Backend): void {
  describe(`the ${name} backend`, () => {
    let folder: string;
    let backend: Backend;
    const sites = new Map<AttemptId, Site>();
    beforeAll(() => {
      folder = mkdtempSync(join(tmpdir(), "sortie-backend-"));
      backend = open(join(folder, "backend"));
    });
    afterAll(async () => {
      await Promise.all([...sites.values()].map((site) => site.close()));
      await backend.close();
      expect(readdirSync(folder).includes("backend")).toBe(false);
      rmSync(folder, { recursive: true });
    });

    const start = async (
      command: Command,
      options: { env?: Record<string, string>; cwd?: string; stdin?: boolean; attemptId?: AttemptId } = {},
    ): Promise<RunningCommand> => {
      const { env = {}, cwd = folder, stdin = false, attemptId = newAttemptId() } = options;
      const asked = { attemptId, steps: [command], env: Object.entries(env), cwd, stdin };
      const never = new AbortController().signal;
      const site = await backend.open(request("", asked), folder, { note() {}, mark() {} }, never);
      sites.set(attemptId, site);
      return site.start({ command, stdin }, never);
    };
    async function collect(command: RunningCommand): Promise<Result> {
      const outputs = { stdout: [] as Buffer[], stderr: [] as Buffer[] };
      command.stdout.on("data", (bytes: Buffer) => outputs.stdout.push(bytes));
      command.stderr.on("data", (bytes: Buffer) => outputs.stderr.push(bytes));
      const settled = await command.settled;
      return { settled, stdout: Buffer.concat(outputs.stdout), stderr: Buffer.concat(outputs.stderr) };
    }
    const run = async (
      command: Command,
      options: Parameters<typeof start>[1] & { input?: Buffer } = {},
    ): Promise<Result> => {
      const running = await start(command, { ...options, stdin: options.input !== undefined });
      running.stdin?.on("error", () => {});
      running.stdin?.end(options.input);
      return collect(running);
    };
    const sh = (script: string, options: Parameters<typeof run>[1] = {}): Promise<Result> =>
      run({ argv: ["/bin/sh", "-c", script] }, options);

    it("tells every exit code", async () => {
      const codes = Array.from({ length: 256 }, (_, code) => code);
      const seen: unknown[] = [];
      for (let at = 0; at < codes.length; at += 32) {
        seen.push(
          ...(await Promise.all(codes.slice(at, at + 32).map(async (code) => (await sh(`exit ${code}`)).settled))),
        );
      }
      expect(seen).toEqual(codes.map((code) => ({ kind: "exited", code, heldOpen: false })));
    });

    it("tells every common signal", async () => {
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
      ]) {
        expect((await sh(`kill -${signal} $$`)).settled).toEqual({ kind: "signaled", signal, heldOpen: false });
      }
    });

    it("tells a missing command, one that cannot be executed, and a missing directory apart", async () => {
      expect((await run({ argv: ["no-such-command"] })).settled).toMatchObject({
        kind: "failed",
        stage: "command",
        code: 127,
      });
      expect((await run({ argv: ["/no/such/command"] })).settled).toMatchObject({
        kind: "failed",
        stage: "command",
        code: 127,
      });
      writeFileSync(join(folder, "plain"), "text", { mode: 0o644 });
      expect((await run({ argv: [join(folder, "plain")] })).settled).toMatchObject({
        kind: "failed",
        stage: "command",
        code: 126,
      });
      expect((await run({ argv: [folder] })).settled).toMatchObject({ kind: "failed", stage: "command", code: 126 });
      expect((await run({ argv: ["true"] }, { cwd: join(folder, "gone") })).settled).toMatchObject({
        kind: "failed",
        stage: "workdir",
        code: null,
      });
      writeFileSync(join(folder, "script"), "#!/no/such/interpreter\n", { mode: 0o755 });
      expect((await run({ argv: [join(folder, "script")] })).settled).toMatchObject({
        kind: "failed",
        stage: "command",
        code: 127,
      });
      expect((await run({ argv: ["true", "x".repeat(200_000)] })).settled).toMatchObject({
        kind: "failed",
        stage: "spawn",
      });
    });

    it("tells names and paths that no file can have as a refusal, never as an error of its own", async () => {
      const long = "x".repeat(300);
      symlinkSync("itself", join(folder, "itself"));
      const refusals: [Command, { cwd?: string; env?: Record<string, string> }, object][] = [
        [{ argv: [long] }, {}, { stage: "command", code: 127 }],
        [{ argv: [`/${long}`] }, {}, { stage: "command", code: 126 }],
        [{ argv: [join(folder, "itself")] }, {}, { stage: "command", code: 126 }],
        [{ argv: ["true"] }, { cwd: `/${long}` }, { stage: "workdir", code: null }],
        [{ argv: ["true"] }, { cwd: join(folder, "itself", "below") }, { stage: "workdir", code: null }],
        [{ shell: "true" }, { cwd: "/dev/null" }, { stage: "workdir", code: null }],
        [{ argv: ["no-such-command"] }, { env: { PATH: `/${long}:/bin` } }, { stage: "command", code: 127 }],
      ];
      for (const [command, options, refusal] of refusals)
        expect((await run(command, options)).settled).toMatchObject({ kind: "failed", ...refusal });
    });

    it("finds a command as the kernel does: PATH from the working directory, and a script without #! by sh", async () => {
      mkdirSync(join(folder, "bin"));
      writeFileSync(join(folder, "bin", "mine"), "exit 9\n", { mode: 0o755 });
      for (const path of ["bin:/bin", "./bin"])
        expect((await run({ argv: ["mine"] }, { env: { PATH: path } })).settled).toMatchObject({ code: 9 });
      expect((await run({ argv: ["mine"] }, { env: { PATH: "" }, cwd: join(folder, "bin") })).settled).toMatchObject({
        code: 9,
      });
      expect((await run({ argv: ["./mine"] }, { cwd: join(folder, "bin") })).settled).toMatchObject({ code: 9 });
    });

    it("gives real pipes: /dev/stdin, /dev/stdout and /dev/stderr can be opened", async () => {
      const { settled, stdout, stderr } = await sh(
        "echo a > /dev/stderr; echo b | tee /dev/stderr; cat /dev/stdin > /dev/stdout",
        { input: Buffer.from("c\n") },
      );
      expect({ ...settled, stdout: String(stdout), stderr: String(stderr) }).toEqual({
        kind: "exited",
        code: 0,
        heldOpen: false,
        stdout: "b\nc\n",
        stderr: "a\nb\n",
      });
      expect(String((await sh("sleep 0.1; cat /dev/stdin; echo end", { input: Buffer.alloc(0) })).stdout)).toBe(
        "end\n",
      );
    });

    it("feeds stdin of no byte, one byte and 64 MiB", async () => {
      for (const size of [0, 1, 64 * 1024 * 1024]) {
        const input = Buffer.alloc(size, "x");
        expect(String((await run({ argv: ["sha256sum"] }, { input })).stdout)).toBe(
          `${createHash("sha256").update(input).digest("hex")}  -\n`,
        );
      }
    });

    it("is not held up by stdin that is never read, closed at once, or left early", async () => {
      const input = Buffer.alloc(8 * 1024 * 1024, "x");
      expect((await run({ argv: ["true"] }, { input })).settled).toMatchObject({ code: 0 });
      expect((await sh("exec <&-; sleep 0.1; exit 3", { input })).settled).toMatchObject({ code: 3 });
      expect(String((await run({ argv: ["head", "-c", "3"] }, { input })).stdout)).toBe("xxx");
    });

    it("loses no byte of large outputs, on both streams at once", async () => {
      const { stdout, stderr } = await sh("head -c 134217728 /dev/zero & head -c 134217728 /dev/zero >&2; wait");
      expect([stdout.length, stderr.length]).toEqual([128 * 1024 * 1024, 128 * 1024 * 1024]);
    });

    it("keeps 256 MiB of random bytes as they are", async () => {
      const bytes = randomBytes(32 * 1024 * 1024);
      const file = join(folder, "random");
      writeFileSync(file, bytes);
      const running = await start({ argv: ["cat", ...Array.from({ length: 8 }, () => file)] });
      const seen = createHash("sha256");
      running.stdout.on("data", (part: Buffer) => seen.update(part));
      running.stderr.resume();
      expect(await running.settled).toMatchObject({ kind: "exited", code: 0 });
      const written = createHash("sha256");
      for (let round = 0; round < 8; round++) written.update(bytes);
      expect(seen.digest("hex")).toBe(written.digest("hex"));
    });

    it("loses no byte of many short lines, and none that is written just before the exit", async () => {
      const lines = await sh("seq 1000000");
      expect(createHash("sha256").update(lines.stdout).digest("hex")).toBe(
        createHash("sha256")
          .update(Array.from({ length: 1_000_000 }, (_, index) => `${index + 1}\n`).join(""))
          .digest("hex"),
      );
      for (let round = 0; round < 50; round++) expect(String((await sh("printf last")).stdout)).toBe("last");
    });

    it("keeps alternating one-byte writes of both streams", async () => {
      const { stdout, stderr } = await sh("i=0; while [ $i -lt 2000 ]; do printf a; printf b >&2; i=$((i+1)); done");
      expect([String(stdout), String(stderr)]).toEqual(["a".repeat(2_000), "b".repeat(2_000)]);
    });

    it("keeps bytes that are no text", async () => {
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte));
      expect((await run({ argv: ["cat"] }, { input: bytes })).stdout).toEqual(bytes);
    });

    it("hands arguments and variables on as they are", async () => {
      const all = Array.from({ length: 127 }, (_, code) => String.fromCharCode(code + 1)).join("");
      const args = ["", " ", all, "'", '"', "$(id)", "`id`", "a\nb", "😀", "-n", "--", "\\", "*", "x".repeat(100_000)];
      expect(
        String((await run({ argv: ["printf", "%s\\0", ...args] })).stdout)
          .split("\0")
          .slice(0, -1),
      ).toEqual(args);
      expect(String((await sh('printf "%s" "$NASTY"', { env: { NASTY: all } })).stdout)).toBe(all);
    });

    it("gives the command exactly its environment", async () => {
      const { stdout } = await run({ argv: ["env", "-0"] }, { env: { PATH: "/usr/bin:/bin", A: "1" } });
      const names = String(stdout)
        .split("\0")
        .filter(Boolean)
        .map((line) => line.split("=")[0]);
      const sorties = ["SORTIE", "SORTIE_ATTEMPT", "SORTIE_ATTEMPT_ID", "SORTIE_JOB", "SORTIE_RUN"];
      expect(names.sort()).toEqual(["A", "CI", "HOME", "LANG", "PATH", ...sorties, "TERM"]);
    });

    it("ends what a grandchild holds open, after a quiet while, with the command's own code", async () => {
      const { settled, stdout } = await sh("sleep 4801 & echo mine; exit 5");
      expect({ settled, stdout: String(stdout) }).toEqual({
        settled: { kind: "exited", code: 5, heldOpen: true },
        stdout: "mine\n",
      });
      expect(
        await until(
          () => processesOf("sleep\x004801"),
          (pids) => pids.length === 0,
        ),
      ).toEqual([]);
    });

    it("waits for a slow reader, and does not take its pause for silence", async () => {
      const running = await start({ argv: ["sh", "-c", "head -c 200000 /dev/zero; (sleep 0.2; echo late) &"] });
      running.stderr.resume();
      let length = 0;
      running.stdout.on("data", (bytes: Buffer) => {
        length += bytes.length;
        running.stdout.pause();
        setTimeout(() => running.stdout.resume(), 600);
      });
      const settled = await running.settled;
      expect({ settled, length }).toEqual({ settled: { kind: "exited", code: 0, heldOpen: false }, length: 200_005 });
    });

    it("kills the whole tree: the group, what left it, and what ignores TERM", async () => {
      const running = await start({
        argv: [
          "sh",
          "-c",
          "trap '' TERM; setsid sleep 4802 & (setsid sh -c 'sleep 4803 & exit' &) ; sleep 4804 & echo up; while :; do sleep 0.05; done",
        ],
      });
      running.stderr.resume();
      await new Promise((resolve) => running.stdout.once("data", resolve));
      running.stdout.resume();
      await until(
        () => ["4802", "4803", "4804"].flatMap((seconds) => processesRunning("sleep", seconds)),
        (pids) => pids.length === 3,
      );
      await running.kill(200);
      expect(["4802", "4803", "4804"].flatMap((seconds) => processesOf(`sleep\0${seconds}`))).toEqual([]);
      expect(await running.settled).toMatchObject({ kind: "signaled", signal: "KILL" });
    });

    it("kills what ignores TERM also where it cleared its environment, which took the marker away", async () => {
      const running = await start({
        argv: ["env", "-i", "/bin/sh", "-c", "trap '' TERM; echo up; while :; do sleep 0.05; done"],
      });
      running.stderr.resume();
      await new Promise((resolve) => running.stdout.once("data", resolve));
      running.stdout.resume();
      await running.kill(100);
      expect(await running.settled).toMatchObject({ kind: "signaled", signal: "KILL" });
    });

    it("kills at once where there is no time to wait", async () => {
      const running = await start({ argv: ["env", "-i", "/bin/sh", "-c", "echo up; while :; do sleep 0.05; done"] });
      running.stderr.resume();
      await new Promise((resolve) => running.stdout.once("data", resolve));
      running.stdout.resume();
      running.killNow();
      expect(await running.settled).toMatchObject({ kind: "signaled", signal: "KILL" });
    });

    it("delivers each of many signals at least once, in their order", async () => {
      const running = await start({
        argv: ["sh", "-c", "trap 'echo one' USR1; trap 'echo two; exit 4' USR2; echo up; while :; do sleep 0.02; done"],
      });
      running.stderr.resume();
      let said = "";
      running.stdout.on("data", (bytes: Buffer) => {
        said += String(bytes);
      });
      await until(
        () => said,
        (text) => text.includes("up"),
      );
      for (let round = 0; round < 1_000; round++) running.signal("USR1");
      running.signal("USR2");
      expect(await running.settled).toMatchObject({ kind: "exited", code: 4 });
      expect(said).toMatch(/^up\n(one\n)+two\n$/);
    });

    it("gives up after ten seconds on a grandchild that never stops writing, whether the reader is quick or slow", async () => {
      const command: Command = { argv: ["sh", "-c", "echo mine; yes 4806 & exit 6"] };
      const [quick, slow] = await Promise.all([start(command), start(command)]);
      for (const running of [quick, slow]) running.stderr.resume();
      quick.stdout.resume();
      slow.stdout.on("data", () => {
        slow.stdout.pause();
        setTimeout(() => slow.stdout.resume(), 5);
      });
      for (const running of [quick, slow])
        expect(await running.settled).toEqual({ kind: "exited", code: 6, heldOpen: true });
      expect(
        await until(
          () => processesOf("yes\x004806"),
          (pids) => pids.length === 0,
        ),
      ).toEqual([]);
    });

    it("sweeps away a daemon that closed its outputs and left the group", async () => {
      const attempt = newAttemptId();
      const { settled } = await sh("setsid sleep 4805 >/dev/null 2>&1 </dev/null & exit 0", {
        attemptId: attempt,
      });
      expect(settled).toMatchObject({ code: 0, heldOpen: false });
      await sites.get(attempt)?.close();
      expect(processesOf("sleep\x004805")).toEqual([]);
    });

    it("runs fifty at once", async () => {
      const results = await Promise.all(Array.from({ length: 50 }, (_, index) => sh(`echo ${index}; exit ${index}`)));
      expect(
        results.map(({ settled, stdout }) => [settled.kind === "exited" ? settled.code : -1, String(stdout)]),
      ).toEqual(Array.from({ length: 50 }, (_, index) => [index, `${index}\n`]));
    });
  });
}

// What only the container backend does, against Docker and Podman: see also the suite that every backend runs.
import { execFile } from "node:child_process";
import { chmodSync, chownSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { type Result, requestOf, says, withEngines } from "./containers.ts";

const NOBODY = 65_534;

await withEngines(["docker", "podman"], (containers, kind) => {
  it("runs a command in the image, and leaves nothing", async () => {
    const result = await containers().sh("echo out; echo err >&2; exit 7");
    expect(result).toEqual({ settled: { kind: "exited", code: 7, heldOpen: false }, stdout: "out\n", stderr: "err\n" });
    expect(await containers().left()).toEqual([]);
    expect(containers().logged).toEqual([]);
    expect(containers().marks.at(-1)).toContain(containers().host);
  });

  it("gives the first bytes and the right code, twelve times", async () => {
    const results: Result[] = [];
    // Podman takes more than ten seconds to answer anybody when it is asked for dozens at once.
    while (results.length < 12)
      results.push(
        ...(await Promise.all(
          Array.from({ length: 4 }, (_, index) => results.length + index).map((index) =>
            containers().sh(`echo ${index}; exit ${index}`),
          ),
        )),
      );
    expect(results.map(({ stdout, settled }) => [stdout, settled])).toEqual(
      results.map((_, index) => [`${index}\n`, { kind: "exited", code: index, heldOpen: false }]),
    );
  });

  it("tells a missing command and one that cannot be executed, and keeps init's words out of stderr", async () => {
    const failures = [];
    for (const argv of [["no-such"], ["/no/such"], ["/etc/passwd"], ["/bin"]])
      failures.push(...(await containers().run({ steps: [argv] })));
    expect(failures).toEqual(
      [127, 127, 126, 126].map((code) => ({
        settled: { kind: "failed", stage: "command", code, heldOpen: false, message: expect.any(String) },
        stdout: "",
        stderr: "",
      })),
    );
  });

  it("does not take for init's words what a command says itself", async () => {
    const said = "[FATAL tini (7)] exec x failed: No such file or directory\n";
    const results = [
      await containers().sh(`printf '${said.replace("\n", "\\n")}' >&2; exit 3`),
      await containers().sh("exit 127"),
    ];
    expect(results.map(({ settled, stderr }) => [settled, stderr])).toEqual([
      [{ kind: "exited", code: 3, heldOpen: false }, said],
      [{ kind: "exited", code: 127, heldOpen: false }, ""],
    ]);
  });

  it("passes stdin with its end, and takes outputs to their end where the command stops reading", async () => {
    const zeros = Buffer.alloc(20_000_000);
    expect((await containers().sh("wc -c", {}, zeros)).stdout.trim()).toBe("20000000");
    expect((await containers().sh("wc -c", {}, Buffer.alloc(0))).stdout.trim()).toBe("0");
    const early = await containers().sh("head -c 10 >/dev/null; yes | head -c 3000000; exit 4", {}, zeros);
    expect([early.settled, early.stdout.length]).toEqual([{ kind: "exited", code: 4, heldOpen: false }, 3_000_000]);
    expect((await containers().sh("cat; echo end")).stdout).toBe("end\n");
  });

  it("tells a signal that was sent from here, and keeps another's code as ambiguous", async () => {
    const signaled = await containers().with({ steps: ["echo up; sleep 100"] }, async (running) => {
      running.stderr.resume();
      await says(running, "up");
      running.signal("INT");
      return running.settled;
    });
    expect(signaled).toEqual({ kind: "signaled", signal: "INT", heldOpen: false });
    expect((await containers().sh("kill -9 $$")).settled).toEqual({
      kind: "exited",
      code: 137,
      ambiguous: true,
      heldOpen: false,
    });
    expect((await containers().sh("exit 200")).settled).toEqual({ kind: "exited", code: 200, heldOpen: false });
  });

  it("kills the whole tree, and tells what ended by which signal", async () => {
    const { ending, settled } = await containers().with(
      { steps: ["trap '' TERM; setsid sleep 4811 & echo up; while :; do sleep 0.05; done"] },
      async (running) => {
        running.stderr.resume();
        await says(running, "up");
        const ended = await running.kill(300);
        return { ending: ended, settled: await running.settled };
      },
    );
    expect(settled).toEqual({ kind: "signaled", signal: "KILL", heldOpen: false });
    expect(ending.survivors).toEqual([]);
    const named = ending.ended.map(({ name, by }) => `${name} ${by}`);
    // An engine that takes seconds to look says so, and then nothing is told that nobody saw.
    if (ending.unknown === undefined) expect(named).toContain("sh KILL");
    else expect(named.filter((one) => !one.endsWith(" KILL"))).toEqual([]);
    expect(named.some((one) => one.includes("init"))).toBe(false);
  });

  it("ends at TERM without waiting for the grace", async () => {
    const { ending, settled } = await containers().with({ steps: ["sleep 4812"] }, async (running) => {
      running.stdout.resume();
      running.stderr.resume();
      // Longer than the test may take.
      const ended = await running.kill(600_000);
      return { ending: ended, settled: await running.settled };
    });
    expect(settled).toEqual({ kind: "signaled", signal: "TERM", heldOpen: false });
    expect(ending.ended.every(({ by }) => by === "TERM")).toBe(true);
  });

  it("keeps what a step changed in the container's files for the next one, and removes the images", async () => {
    const results = await containers().run({
      steps: [
        "echo one > /kept; mkdir /folder; echo ws > here",
        "cat /kept here; echo two >> /kept",
        "cat /kept; ls -d /folder",
      ],
    });
    expect(results.map(({ stdout }) => stdout)).toEqual(["", "one\nws\n", "one\ntwo\n/folder\n"]);
    // Images of the same second, each made of the one before.
    const many = await containers().run({ steps: Array.from({ length: 10 }, () => "echo x >> /kept; wc -l < /kept") });
    expect(many.at(-1)?.stdout.trim()).toBe("10");
    expect(containers().logged).toEqual([]);
    expect(await containers().left()).toEqual([]);
  });

  it("ends what a dead keeper left, by its attempt", async () => {
    const request = requestOf({ steps: ["echo up; sleep 4813"] });
    const site = await containers().open(request);
    const running = await site.start(
      { command: request.steps[0] as never, stdin: false },
      new AbortController().signal,
    );
    running.stderr.resume();
    await says(running, "up");
    expect((await containers().left(request.attemptId)).length).toBe(1);
    await containers().backend.reap(request.attemptId, containers().marks.at(-1) as string);
    expect(await containers().left(request.attemptId)).toEqual([]);
    await running.settled;
    await site.close();
  });

  // The folder of the rig's Podman is root's alone.
  if (kind === "docker")
    it("gives files that the container's root left to a runner that is another user", async () => {
      const socket = containers().host.replace("unix://", "");
      const { mode } = statSync(socket);
      const folder = mkdtempSync(join(tmpdir(), "sortie-unprivileged-"));
      const isRoot = process.getuid?.() === 0;
      try {
        if (isRoot) {
          chmodSync(socket, 0o666);
          for (let path = dirname(socket); path !== tmpdir(); path = dirname(path)) chmodSync(path, 0o711);
          chownSync(folder, NOBODY, NOBODY);
        }
        const script = join(import.meta.dirname, "unprivileged-job.ts");
        const { stdout } = await promisify(execFile)(process.execPath, [script], {
          ...(isRoot ? { uid: NOBODY, gid: NOBODY } : {}),
          env: { ...process.env, TMPDIR: folder, HOME: folder },
        });
        const user = isRoot ? NOBODY : process.getuid?.();
        expect(JSON.parse(stdout)).toEqual({
          settled: { kind: "exited", code: 0, heldOpen: false },
          before: 0,
          after: user,
          names: ["deep", "link"],
          left: [],
          logged: [],
        });
      } finally {
        chmodSync(socket, mode);
        rmSync(folder, { recursive: true });
      }
    });
});

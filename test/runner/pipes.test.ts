import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { pipePool } from "../../runner/keeper/pipes.ts";
import { root } from "../rig/rig.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-pipes-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("a pool of pipes", () => {
  it("is not disturbed by what a process of the same id left there when it was killed", async () => {
    const own = join(folder, "pipes");
    mkdirSync(own);
    execFileSync("mkfifo", [join(own, `${process.pid}-0`), join(own, `${process.pid}-5`)]);
    const pool = pipePool(own);
    const { reader, childEnd } = await pool.output();
    execFileSync("echo", ["through"], { stdio: ["ignore", childEnd, "ignore"] });
    expect(String(await new Promise((resolve) => reader.once("data", resolve)))).toBe("through\n");
    reader.destroy();
    await pool.close();
    expect(existsSync(own)).toBe(false);
  });

  it("leaves no name behind for a pipe that was handed out", async () => {
    const pool = pipePool(join(folder, "pipes"));
    const before = readdirSync(join(folder, "pipes")).length;
    expect(before).toBe(0);
    const { writer, release } = await pool.input();
    expect(readdirSync(join(folder, "pipes")).length).toBe(63);
    release();
    writer.destroy();
    await pool.close();
  });

  it("keeps no descriptor of processes that could not be started because there were none left", () => {
    const backend = pathToFileURL(join(root, "runner/keeper/backends/local.ts")).href;
    const script = `
      import { readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
      import { localBackend } from ${JSON.stringify(backend)};
      const backend = localBackend(${JSON.stringify(join(folder, "pipes"))}, "owner");
      const request = { attemptId: "pipes-test", env: [], cwd: "/" };
      // Node's own descriptors come and go; those of the pool's FIFOs must go.
      const open = () => readdirSync("/proc/self/fd").filter((fd) => {
        try {
          return readlinkSync("/proc/self/fd/" + fd).startsWith(${JSON.stringify(folder)});
        } catch {
          return false;
        }
      }).length;
      const stay = ${JSON.stringify(join(folder, "stay"))};
      // All of a round live until the last was tried: so many are more than there are descriptors for.
      const argv = ["sh", "-c", 'while [ -e "$0" ]; do sleep 0.05; done', stay];
      const left = [];
      let failed = 0;
      for (let round = 0; round < 4; round++) {
        const started = [];
        writeFileSync(stay, "");
        // An odd and an even number of descriptors each: every way to run out comes up.
        for (let index = 0; index < 60; index++) {
          const site = await backend.open(request, "/", { mark() {}, note() {} }, new AbortController().signal);
          const command = { command: { argv }, stdin: index % 3 === 0 };
          const running = await site.start(command, new AbortController().signal);
          running.stdout.resume();
          running.stderr.resume();
          started.push(running.settled);
        }
        rmSync(stay);
        failed += (await Promise.all(started)).filter((settled) => settled.kind === "failed").length;
        for (let looks = 0; open() > 0 && looks < 2_000; looks++) await new Promise((resolve) => setTimeout(resolve, 10));
        left.push(open());
      }
      await backend.close();
      console.log(JSON.stringify({ failed, left }));`;
    const said = execFileSync(
      "/bin/sh",
      ["-c", 'ulimit -n 120; exec "$0" --input-type=module -e "$1"', process.execPath, script],
      { encoding: "utf8", env: { PATH: process.env["PATH"] }, timeout: 50_000, killSignal: "SIGKILL" },
    );
    const { failed, left } = JSON.parse(said) as { failed: number; left: number[] };
    expect(failed).toBeGreaterThan(0);
    expect(left).toEqual([0, 0, 0, 0]);
  });
});

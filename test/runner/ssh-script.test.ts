import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  asLine,
  BOOTSTRAP,
  endScript,
  type Launch,
  launchScript,
  READY,
  removeScript,
} from "../../runner/keeper/backends/ssh/script.ts";
import { processesOf, processesRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";

const folder = mkdtempSync(join(tmpdir(), "sortie-script-"));
afterAll(() => rmSync(folder, { recursive: true }));
// Under the name of sh, as a host has it: it behaves otherwise than bash.
symlinkSync("/bin/bash", join(folder, "sh"));
const shells: [string, string[]][] = [
  ["/bin/sh", ["/bin/sh"]],
  ["dash", ["/bin/dash"]],
  ["bash", [join(folder, "sh")]],
  ["busybox", ["/bin/busybox", "sh"]],
];
const present = shells.filter(([name, [path = ""]]) => existsSync(name === "bash" ? "/bin/bash" : path));

describe.each(present)("the scripts in %s", (_, [shell = "", ...before]) => {
  // What the login shell runs /bin/sh with.
  const [, bootstrap = ""] = /^exec \/bin\/sh -c '(.*)'$/.exec(BOOTSTRAP) ?? [];
  const args = [...before, "-c", bootstrap];
  const run = (line: Uint8Array, path = process.env["PATH"]) => {
    const env = { ...process.env, PATH: path };
    const { status, stdout, stderr } = spawnSync(shell, args, { input: line, env, maxBuffer: 64 * 1024 * 1024 });
    expect(String(stdout).startsWith(READY)).toBe(true);
    return { status, stdout: String(stdout).slice(READY.length), stderr: String(stderr) };
  };
  const launch = (options: Partial<Launch>) =>
    asLine(
      launchScript({
        nonce: "NONCE",
        command: { argv: ["true"] },
        variables: {},
        directory: { path: "/" },
        umask: undefined,
        nice: undefined,
        stdin: true,
        ...options,
      }),
    );
  /** What the command itself wrote. */
  const own = ({ stdout }: { stdout: string }): string => stdout.slice(stdout.indexOf("\n") + 1);

  const all = Array.from({ length: 127 }, (__, code) => String.fromCharCode(code + 1)).join("");
  const wide = Array.from({ length: 0x780 }, (__, code) => String.fromCharCode(code + 0x80)).join("");

  it("hand every character on, and 300 KB of a script", () => {
    const words = ["", " ", all, wide, "😀", "\n\n", "'\n'", "\\\n", "x".repeat(100_000), "'".repeat(5_000)];
    const result = run(launch({ command: { argv: ["printf", "%s\\0", ...words] }, variables: { ALL: all } }));
    expect(own(result).split("\0").slice(0, -1)).toEqual(words);
    expect(result.stderr).toBe("NONCE started /\n");
    expect(own(run(launch({ command: { shell: 'printf %s "$ALL"' }, variables: { ALL: all } })))).toBe(all);
    const long = `${"# a comment\n".repeat(25_000)}echo end`;
    expect(run(asLine(long)).stdout).toBe("end\n");
  });

  it("leave the rest of stdin to the command, to the byte", () => {
    const rest = Buffer.from(Array.from({ length: 256 }, (__, byte) => byte));
    const result = spawnSync(shell, args, { input: Buffer.concat([launch({ command: { argv: ["cat"] } }), rest]) });
    expect(result.stdout.subarray(result.stdout.indexOf("\n", READY.length) + 1)).toEqual(rest);
  });

  it("run nothing of a line that was cut short, wherever", () => {
    const line = launch({ command: { shell: `touch ${join(folder, "ran")}\n\n` }, variables: { A: "a\nb" } });
    const step = Math.ceil(line.length / 60);
    for (let length = 1; length < line.length; length += step) expect(run(line.subarray(0, length)).stdout).toBe("");
    expect(run(line.subarray(0, -1)).stdout).toBe("");
    expect(readdirSync(folder)).not.toContain("ran");
    run(line);
    expect(readdirSync(folder)).toContain("ran");
    rmSync(join(folder, "ran"));
  });

  it("tell what cannot be started", () => {
    const refused: [Partial<Launch>, string][] = [
      [{ command: { argv: ["no-such-command"] } }, "command 127"],
      [{ command: { argv: ["/no-such-place"] } }, "command 127"],
      [{ command: { argv: ["/dev/null/such"] } }, "command 127"],
      [{ command: { argv: ["/etc/passwd"] } }, "command 126"],
      [{ command: { argv: [`/${"x".repeat(300)}`] } }, "command access"],
      [{ directory: { path: "/no-such-place" } }, "workdir missing"],
      [{ directory: { path: "/etc/passwd" } }, "workdir file"],
      [{ command: { argv: ["true", "x".repeat(140_000)] } }, "large"],
      [{ variables: { BIG: "x".repeat(140_000) } }, "large"],
    ];
    for (const [options, reason] of refused) expect(run(launch(options)).stderr).toBe(`NONCE refused ${reason}\n`);
    expect(run(launch({ variables: { PATH: "" }, directory: { path: "/bin" } })).stderr).toBe("NONCE started /bin\n");
    expect(run(launch({ variables: { PATH: "/no:" }, directory: { path: "/bin" } })).status).toBe(0);
  });

  it("make a directory of a job's own and remove it", () => {
    const name = `sortie-script-test-${process.pid}`;
    const made = run(launch({ directory: { name }, command: { shell: "pwd; mkdir a; chmod 0 a; ls -ld ." } }));
    const path = join(tmpdir(), name);
    expect(made.stderr).toBe(`NONCE started ${path}\n`);
    expect(own(made)).toMatch(new RegExp(`^${path}\ndrwx------`));
    expect(run(launch({ directory: { name } })).stderr).toBe("NONCE refused workdir make\n");
    expect(run(asLine(removeScript({ name })))).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(run(asLine(removeScript({ path })))).toEqual({ status: 0, stdout: "", stderr: "" });
    expect(existsSync(path)).toBe(false);
  });

  it("end a tree, and tell what by which signal; nothing where there is nothing", async () => {
    const mark = `SORTIE_SCRIPT_TEST=${process.pid}`;
    const tree = "setsid sleep 7501 & setsid sh -c 'trap \"\" TERM; sleep 7502; :' & echo up; wait";
    const child = spawn("/bin/sh", ["-c", tree], {
      detached: true,
      env: { PATH: process.env["PATH"], SORTIE_SCRIPT_TEST: String(process.pid) },
      stdio: ["ignore", "ignore", "ignore"],
    });
    await until(
      () => processesRunning("sleep", "7502").length + processesRunning("sleep", "7501").length,
      (count) => count === 2,
    );
    const ended = run(asLine(endScript({ mark, leader: undefined }, 1_000)));
    const lines = ended.stdout
      .trim()
      .split("\n")
      .map((line) => line.replace(/ \d+ /, " "));
    expect(lines.sort()).toEqual(["kill sh", "kill sleep", "term sh", "term sleep"]);
    expect(ended.stderr).toBe("");
    expect([...processesOf("sleep\x007502"), ...processesOf("sleep\x007501")]).toEqual([]);
    const again = run(asLine(endScript({ mark, leader: { pid: child.pid as number, began: "1" } }, 300)));
    expect(again).toEqual({ status: 0, stdout: "", stderr: "" });
    // Its number is another's now: this process itself is not touched, though it has it.
    const mine = run(asLine(endScript({ mark, leader: { pid: process.pid, began: "1" } }, 0)));
    expect(mine.stdout).toBe("");
  });

  it("end also what the first look misses, since it is being executed then", () => {
    const mark = `SORTIE_SCRIPT_TEST=${process.pid}`;
    const env = { PATH: process.env["PATH"], SORTIE_SCRIPT_TEST: String(process.pid) };
    const asleep = (): number => spawn("sleep", ["7503"], { detached: true, env, stdio: "ignore" }).pid ?? 0;
    /** A grep that does not see the process in its first look at environments. */
    const blindTo = (pid: number): string => {
      const path = join(folder, `blind-to-${pid}`);
      mkdirSync(path);
      const looked = join(path, "looked");
      const first = `case "$*" in */environ*) [ -e ${looked} ] || { >${looked}; grep "$@" | grep -v "^${pid}/"; exit; } ;; esac`;
      writeFileSync(join(path, "grep"), `#!/bin/sh\nPATH='${env.PATH}'\n${first}\nexec grep "$@"\n`, { mode: 0o755 });
      return `${path}:${env.PATH}`;
    };
    const end = (graceMs: number, missed: number): string[] =>
      run(asLine(endScript({ mark, leader: undefined }, graceMs)), blindTo(missed))
        .stdout.trim()
        .split("\n")
        .sort();
    const alone = asleep();
    expect(end(0, alone)).toEqual([`kill ${alone} sleep`]);
    const [seen, missed] = [asleep(), asleep()];
    expect(end(60_000, missed)).toEqual([`term ${seen} sleep`, `term ${missed} sleep`].sort());
  });
});

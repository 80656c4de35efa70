// Secrets at the runner of their job: what the job has of them, and what nothing else has.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { encodeChunk, STDIN } from "../../protocol/chunk.ts";
import type { DeliveredSecret } from "../../protocol/delivered-secret.ts";
import type { SortieError } from "../../protocol/errors.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { openKeeper } from "../../runner/keeper/keeper.ts";
import type { Runner } from "../../runner/runner.ts";
import { finish, jobFolder, request, startJob, testRunner, untilSaid } from "./calls.ts";
import { drive } from "./driven-jobs.ts";

const VALUE = "-----BEGIN KEY-----\nc2VjcmV0IGFzIGl0IGNhbiBiZQ==\n-----END KEY-----\n";
const asEnv = (value: string, name = "TOKEN"): DeliveredSecret => ({ as: "env", name, variable: name, value });
const asFile = (value: string, name = "KEY"): DeliveredSecret => ({ as: "file", name, value });
const hash = createHash("sha256").update(VALUE).digest("hex");

let folder: string;
let runner: Runner;
beforeEach(async () => {
  folder = jobFolder();
  runner = await testRunner(folder);
});
const run = async (script: string, more: Partial<JobRequest>) => finish(await startJob(runner, request(script, more)));
const filesBelow = (path: string): string[] =>
  readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));

describe("a job's secret", () => {
  it("is a variable, or a file for the job's user alone, in memory, that goes with the job", async () => {
    const job = await drive(runner, { secrets: [asEnv(VALUE), asFile(VALUE)] });
    const path = `/dev/shm/sortie-secrets-${readFileSync(join(folder, "owner"), "utf8")}-${job.wanted.attemptId}/KEY`;
    const { stdout } = await job.run(
      'printf %s "$TOKEN" | sha256sum; sha256sum < $KEY_FILE; stat -c "%a %u" $KEY_FILE $(dirname $KEY_FILE); echo $KEY_FILE',
    );
    const user = process.getuid?.();
    expect(stdout).toBe(`${hash}  -\n${hash}  -\n600 ${user}\n700 ${user}\n${path}\n`);
    expect(existsSync(path)).toBe(true);
    await job.finish();
    await expect.poll(() => existsSync(dirname(path))).toBe(false);
  });

  it("is in no output, of its commands neither, and the exit counts what the journal has", async () => {
    const job = await drive(runner, { secrets: [asEnv(VALUE), asFile(VALUE)] });
    const within = await job.run(
      'cat $KEY_FILE; echo "$TOKEN" >&2; printf %s "$TOKEN" | base64 -w0; printf "%s" "$TOKEN"',
    );
    await job.finish();
    const step = await run('cat $KEY_FILE; echo "$TOKEN" >&2; printf %s "$TOKEN" | base64 -w0; printf "%s" "$TOKEN"', {
      secrets: [asEnv(VALUE), asFile(VALUE)],
    });
    for (const { stdout, stderr, exit } of [within, step]) {
      expect(stdout).toMatch(/^\*\*\*\n\*\*\*.{0,4}\*\*\*\n?$/);
      expect(stderr).toBe("***\n\n");
      expect(exit).toMatchObject({
        reason: "exited",
        code: 0,
        bytes: { stdout: stdout.length, stderr: stderr.length },
      });
    }
  });

  it("is on no disk of the runner, while the job runs and after", async () => {
    const job = await drive(runner, { secrets: [asEnv(VALUE), asFile(VALUE)] });
    await job.run('echo "$TOKEN"; cat $KEY_FILE; echo "$TOKEN" > mine; rm mine');
    const leaks = (): string[] =>
      filesBelow(folder).filter((path) => VALUE.split("\n").some((line) => line && readFileSync(path).includes(line)));
    expect(filesBelow(folder).length).toBeGreaterThan(2);
    expect(leaks()).toEqual([]);
    await job.finish();
    // Its directory goes while the exit is told: no folder may vanish while it is looked through.
    await expect.poll(() => readdirSync(join(folder, "work"))).toEqual([]);
    expect(leaks()).toEqual([]);
  });

  it("holds back no prompt: what only begins like it comes as soon as that shows", async () => {
    const call = await startJob(
      runner,
      request("printf 'name? '; read x; printf corr; sleep 0.05; echo ner", {
        secrets: [asEnv("correct-horse")],
        stdin: true,
      }),
    );
    await untilSaid(call, "name? ");
    await call.write(encodeChunk(STDIN, Buffer.from("me\n")));
    expect((await finish(call)).stdout).toBe("corrner\n");
  });

  it("split over two steps is hidden, since whoever reads sees one text", async () => {
    const { stdout } = await run("", {
      secrets: [asEnv("correct-horse")],
      steps: [{ shell: "printf 'a correct-'" }, { shell: "printf 'horse b'" }],
    });
    expect(stdout).toBe("a *** b");
  });

  it("that cannot be is refused, and no refusal tells it", async () => {
    const refusals = [
      [asEnv("short")],
      [asEnv("  short  ")],
      [asEnv("with-a-\0-in-it")],
      [asEnv("x".repeat(32 * 1024 + 1))],
      [asEnv("twice-the-same"), asEnv("twice-the-same")],
      [asFile("twice-the-same"), { ...asEnv("twice-the-same"), variable: "KEY_FILE" }],
      [asFile("named-wrong", "../KEY")],
      [asFile("named-wrong", "SORTIE")],
      [{ ...asEnv("of-no-service"), service: "db" }],
      Array.from({ length: 3 }, (_, index) => asEnv(String(index).repeat(30 * 1024), `T${index}`)),
    ];
    for (const secrets of refusals as DeliveredSecret[][]) {
      const error = await startJob(runner, request("true", { secrets })).catch((thrown: SortieError) => thrown);
      expect(error).toMatchObject({ code: "PROTOCOL" });
      for (const { value } of secrets) expect((error as SortieError).message).not.toContain(value.trim());
    }
  });
});

it("a keeper that begins removes what one that was killed left of secrets, and nobody else's", async () => {
  const attempt = request("true").attemptId;
  const own = `/dev/shm/sortie-secrets-${readFileSync(join(folder, "owner"), "utf8")}-${attempt}`;
  const other = `/dev/shm/sortie-secrets-another-${attempt}`;
  for (const path of [own, other]) mkdirSync(path, { mode: 0o700 });
  try {
    writeFileSync(join(own, "KEY"), VALUE);
    await runner.close();
    await using again = await openKeeperOf(folder);
    expect([again.running, existsSync(own), existsSync(other)]).toEqual([0, false, true]);
  } finally {
    rmSync(other, { recursive: true });
  }
});

async function openKeeperOf(path: string) {
  const keeper = await openKeeper({ folder: path });
  return Object.assign(keeper, { [Symbol.asyncDispose]: () => keeper.close() });
}

// The audit's chain and its files, by the writer itself; what attackers do to it is in test/abuse.
import { execFileSync } from "node:child_process";
import {
  appendFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { AuditEvent } from "../../protocol/audit.ts";
import { callJson } from "../../protocol/make-call.ts";
import { parseLine } from "../../runner/keeper/audit/chain.ts";
import { auditFiles, readHead, writeHead } from "../../runner/keeper/audit/files.ts";
import { attemptsSince, lastLines } from "../../runner/keeper/audit/read.ts";
import { verifyAudit } from "../../runner/keeper/audit/verify.ts";
import { type Audit, type AuditSizes, openAudit } from "../../runner/keeper/audit/writer.ts";
import { embeddedKeeper, keeperProcess } from "../../runner/keeper/keeper-link.ts";
import { sourceUrl, testFolder } from "../rig/peers.ts";
import { isRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { codeOf, jobFolder, request, startJob, testRunner } from "./calls.ts";

const stranger = (number: number): AuditEvent => ({ type: "stranger", peer: `peer ${number}`, host: "192.0.2.1" });

/** Writes so many lines, each in a go of its own, and leaves. */
async function written(folder: string, count: number, sizes?: AuditSizes): Promise<void> {
  const audit = openAudit(folder, () => {}, sizes);
  for (let number = 1; number <= count; number++) await audit.write([stranger(number)]);
  await audit.close();
}

const linesOf = (folder: string): string[] =>
  auditFiles(folder).flatMap(({ name }) => readFileSync(join(folder, name), "utf8").trimEnd().split("\n"));
const typesOf = (folder: string): string[] => linesOf(folder).map((line) => parseLine(line).event.type);

describe("the audit", () => {
  it("is one chain over files and writers, for this user alone", async () => {
    const folder = join(testFolder(), "audit");
    await written(folder, 3);
    await written(folder, 2);
    expect(typesOf(folder)).toEqual(["file", ...Array(5).fill("stranger")]);
    expect(linesOf(folder).map((line) => parseLine(line).seq)).toEqual([1, 2, 3, 4, 5, 6]);
    expect(verifyAudit(folder)).toMatchObject({ files: 1, lines: 6, torn: 0, breaks: [], last: readHead(folder) });
    expect(statSync(folder).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(folder))
      expect([name, statSync(join(folder, name)).mode & 0o777]).toEqual([name, 0o600]);
  });

  it("writes what comes together in one go, in its order", async () => {
    const folder = testFolder();
    const audit = openAudit(folder, () => {});
    await Promise.all(Array.from({ length: 500 }, (_, number) => audit.write([stranger(number)])));
    await audit.close();
    const peers = linesOf(folder)
      .slice(1)
      .map((line) => (parseLine(line).event as { peer: string }).peer);
    expect(peers).toEqual(Array.from({ length: 500 }, (_, number) => `peer ${number}`));
    expect(verifyAudit(folder).breaks).toEqual([]);
  });

  it("is bounded, and whole from the oldest file that is kept", async () => {
    const folder = testFolder();
    await written(folder, 60, { file: 1_000, files: 3 });
    const files = auditFiles(folder);
    expect(files.length).toBe(3);
    expect(files[0]?.first).toBeGreaterThan(20);
    const { lines, breaks, last } = verifyAudit(folder);
    expect({ breaks, last }).toEqual({ breaks: [], last: readHead(folder) });
    expect(lines).toBe((last?.seq ?? 0) - (files[0]?.first ?? 0) + 1);
    // The first line of a file hangs on the last one of the file before.
    expect(linesOf(folder).filter((line) => parseLine(line).event.type === "file").length).toBe(3);
  });

  it("is read also where its oldest file went in that moment", async () => {
    const folder = testFolder();
    await written(folder, 2);
    // In the folder, and not there to be read.
    symlinkSync("gone", join(folder, "000000000000.jsonl"));
    const types = lastLines(folder, 100, () => true).map(({ line }) => line?.event.type);
    expect(types).toEqual(["file", "stranger", "stranger"]);
    expect(attemptsSince(folder, 0)).toEqual([]);
  });

  it("goes on behind a line that a crash cut, and says so", async () => {
    const folder = testFolder();
    await written(folder, 3);
    const path = join(folder, auditFiles(folder)[0]?.name ?? "");
    appendFileSync(path, '{"seq":5,"at":"20');
    expect(verifyAudit(folder)).toMatchObject({ torn: 17, breaks: [], lines: 4 });
    await written(folder, 1);
    expect(typesOf(folder)).toEqual(["file", "stranger", "stranger", "stranger", "torn", "stranger"]);
    expect(verifyAudit(folder)).toMatchObject({ torn: 0, breaks: [] });
  });

  it("takes lines that a crash left behind the head, and a file that was just begun", async () => {
    const folder = testFolder();
    await written(folder, 3);
    const head = readHead(folder);
    await written(folder, 2);
    if (head) writeHead(folder, head);
    await written(folder, 1);
    expect(verifyAudit(folder)).toMatchObject({ lines: 7, breaks: [] });
    writeFileSync(join(folder, "000000000008.jsonl"), '{"seq":8,', { mode: 0o600 });
    await written(folder, 1);
    expect(typesOf(folder).slice(-3)).toEqual(["stranger", "torn", "stranger"]);
    expect(verifyAudit(folder)).toMatchObject({ files: 1, breaks: [] });
  });

  it("refuses what must be on record while it cannot be written, keeps what has happened, and goes on by itself", async () => {
    const folder = testFolder();
    const path = join(folder, "audit");
    const logged: string[] = [];
    const audit: Audit = openAudit(path, (line) => logged.push(line));
    await audit.write([stranger(1)]);
    rmSync(path, { recursive: true });
    // No folder can be made where a file is.
    writeFileSync(path, "");
    audit.record(stranger(2));
    for (let tries = 0; tries < 2; tries++)
      await expect(audit.write([stranger(3)])).rejects.toMatchObject({ code: "AUDIT_FAILED" });
    expect(logged.filter((line) => line.includes("cannot be written"))).toHaveLength(1);
    rmSync(path);
    mkdirSync(path);
    await until(
      () => auditFiles(path).length,
      (count) => count > 0,
    );
    await audit.close();
    expect(typesOf(path)).toEqual(["file", "broken", "stranger"]);
    expect(parseLine(linesOf(path)[2] ?? "")).toMatchObject({ seq: 5, event: { peer: "peer 2" } });
  });

  it("leaves no half of a line where the disk takes no more", async () => {
    const folder = testFolder();
    const code = `import { openAudit } from ${sourceUrl("runner/keeper/audit/writer.ts")};
      const audit = openAudit(${JSON.stringify(folder)}, () => {});
      let written = 0;
      try { for (;; written++) await audit.write([{ type: "stranger", peer: "peer", host: "x".repeat(200) }]); }
      catch (error) { console.log(written, error.code, error.message); }`;
    // Blocks of 512 bytes, the most that a file may have: what goes beyond fails in the middle of a line.
    const said = execFileSync("sh", [
      "-c",
      'ulimit -f 4; exec "$0" --input-type=module -e "$1"',
      process.execPath,
      code,
    ]);
    const [, written = ""] =
      /^(\d+) AUDIT_FAILED The runner's audit cannot be written \(EFBIG\)/.exec(said.toString()) ?? [];
    expect(Number(written)).toBeGreaterThan(2);
    const path = join(folder, auditFiles(folder)[0]?.name ?? "");
    expect(readFileSync(path, "utf8")).toMatch(/}\n$/);
    expect(verifyAudit(folder)).toMatchObject({ lines: Number(written) + 1, torn: 0, breaks: [] });
  });

  it("has the end of a job whose keeper was killed, and knows its attempt for good", async () => {
    const folder = jobFolder();
    const wanted = request("sleep 4917");
    const options = { audit: join(folder, "audit") };
    const link = await keeperProcess(join(folder, "keeper"), options);
    const front = await testRunner(folder, { keeper: link });
    (await startJob(front, wanted)).abort(new Error("gone"));
    const { pid } = await callJson(await link.open(), "/keeper/info", {});
    // It would start another keeper, on the same folders as the one below.
    await front.close();
    process.kill(pid, "SIGKILL");
    await until(
      () => isRunning(pid),
      (runs) => !runs,
    );
    const keeper = await embeddedKeeper(join(folder, "keeper"), undefined, options.audit);
    const next = await testRunner(folder, { keeper });
    expect(await codeOf(startJob(next, wanted))).toBe("DUPLICATE");
    await next.close();
    const about = linesOf(options.audit)
      .map((line) => parseLine(line).event)
      .filter((event) => "attemptId" in event && event.attemptId === wanted.attemptId);
    expect(about).toMatchObject([{ type: "job-allowed" }, { type: "job-ended", reason: "lost", code: null }]);
    expect(verifyAudit(options.audit).breaks).toEqual([]);
  });

  it("sees that its file was cut while it was written", async () => {
    const folder = testFolder();
    const audit = openAudit(folder, () => {});
    for (let number = 1; number <= 3; number++) await audit.write([stranger(number)]);
    truncateSync(join(folder, auditFiles(folder)[0]?.name ?? ""), 400);
    await audit.write([stranger(4)]);
    await audit.close();
    expect(auditFiles(folder).length).toBe(2);
    expect(verifyAudit(folder).breaks.length).toBeGreaterThan(0);
  });
});

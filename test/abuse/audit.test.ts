// Attacks on the runner's audit: to get a job past it, to change it afterwards, and to fill it.
import { cpSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson, callRaw } from "../../protocol/make-call.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { CALL_PROTOCOL, startNode } from "../../protocol/node.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { createAdmission } from "../../runner/admission.ts";
import { type FrontAudit, openFrontAudit } from "../../runner/audit.ts";
import { describeLine } from "../../runner/audit-text.ts";
import { compile } from "../../runner/grants/decide.ts";
import { type AuditLine, parseLine } from "../../runner/keeper/audit/chain.ts";
import { auditFiles, fileName, readHead } from "../../runner/keeper/audit/files.ts";
import { readLines } from "../../runner/keeper/audit/read.ts";
import { type Break, verifyAudit } from "../../runner/keeper/audit/verify.ts";
import { openAudit } from "../../runner/keeper/audit/writer.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { until } from "../rig/rig.ts";
import { codeOf, finish, request } from "../runner/calls.ts";
import { attack } from "./attack.ts";

const folder = mkdtempSync(join(tmpdir(), "sortie-audit-"));
const path = join(folder, "audit");
const logged: string[] = [];
let keeper: KeeperLink;
let audit: FrontAudit;
let runner: Runner;

beforeAll(async () => {
  keeper = await embeddedKeeper(join(folder, "keeper"), (line) => logged.push(line), path);
  audit = openFrontAudit(keeper, (line) => logged.push(line));
  const policy = compile({ allow: { run: true, shell: true, env: true }, deny: { env: ["SECRET_*"] } }, "flags");
  runner = await createRunner({
    name: "w1",
    labels: {},
    slots: 4,
    admission: createAdmission({ name: "w1", sectionsFor: () => [policy], keeper }),
    leaseMs: limits.leaseMs,
    journals: defaultJournalLimits,
    keeper,
  });
});
afterAll(async () => {
  await audit.close();
  await runner.close();
  rmSync(folder, { recursive: true, force: true });
});

function dial(peer = "12D3KooWpaired", name = "laptop"): ByteChannel {
  const [ours, theirs] = memoryChannelPair();
  void serveCall(
    theirs,
    runner.handlers,
    { peer, name },
    { onRefused: (error, call) => audit.refused({ peer, name }, error, call) },
  );
  return ours;
}
const run = (wanted: JobRequest, peer?: string) =>
  callRaw(dial(peer), "/job/run", { request: wanted, window: limits.windowMinimum, holder: "one" });

const linesIn = (place: string): AuditLine[] =>
  auditFiles(place).flatMap(({ name }) => readFileSync(join(place, name), "utf8").trimEnd().split("\n").map(parseLine));
/** The lines of a job, once there are as many. */
const linesAbout = (wanted: JobRequest, count: number): Promise<AuditLine[]> =>
  until(
    () => linesIn(path).filter(({ event }) => "attemptId" in event && event.attemptId === wanted.attemptId),
    (lines) => lines.length >= count,
  );
const works = async (): Promise<void> =>
  expect((await finish(await run(request("echo works")))).stdout).toBe("works\n");

describe("a job and its lines", () => {
  attack(
    "a job hides secrets in its arguments, its variables and its shell command",
    "names alone are in the audit",
    async () => {
      const wanted = request("", {
        steps: [{ argv: ["true", "hunter2-argument"] }, { shell: "true hunter2-shell" }],
        env: [["TOKEN", "hunter2-value"]],
      });
      await finish(await run(wanted));
      const [allowed, ended] = await linesAbout(wanted, 2);
      expect(allowed?.event).toMatchObject({
        type: "job-allowed",
        peer: "12D3KooWpaired",
        name: "laptop",
        wants: [{ kind: "run", value: "true" }, { kind: "shell" }, { kind: "env", value: "TOKEN" }],
        rule: expect.stringMatching(/run/),
      });
      expect(ended?.event).toMatchObject({ type: "job-ended", reason: "exited", code: 0, bytes: { stdout: 0 } });
      for (const { name } of auditFiles(path)) expect(readFileSync(join(path, name), "utf8")).not.toContain("hunter2");
    },
  );

  attack(
    "a peer asks for a directory that it was not granted, and for a variable that is denied",
    "DENIED, and one line with the rule",
    async () => {
      const wanted = request("", { steps: [{ argv: ["true", "hunter2"] }], cwd: "/etc" });
      expect(await codeOf(run(wanted))).toBe("DENIED");
      const [refused, more] = await linesAbout(wanted, 1);
      expect(refused?.event).toMatchObject({ type: "refused", operation: "/job/run", code: "DENIED", job: "job" });
      expect(refused?.event).toMatchObject({ rule: "nothing allows it", message: expect.stringContaining("/etc") });
      expect(JSON.stringify(refused?.event)).not.toContain("hunter2");
      expect(more).toBeUndefined();
      const denied = request("true", { env: [["SECRET_X", "hunter2"]] });
      const error = await run(denied).catch((error: SortieError) => error);
      expect(error).toMatchObject({ code: "DENIED", message: expect.not.stringContaining("SECRET_*") });
      const [line] = await linesAbout(denied, 1);
      expect(line?.event).toMatchObject({ rule: expect.stringMatching(/^flags: deny env.*SECRET_\*/) });
      expect(JSON.stringify(line?.event)).not.toContain("hunter2");
      await works();
    },
  );

  attack("a peer reads, and steers, another peer's job", "NOT_FOUND, and one line each", async () => {
    const wanted = request("echo mine");
    await finish(await run(wanted));
    const input = { attemptId: wanted.attemptId, offset: 0, window: limits.windowMinimum, holder: "x" };
    for (const control of [false, true])
      expect(await codeOf(callRaw(dial("12D3KooWother"), "/job/attach", { ...input, control }))).toBe("NOT_FOUND");
    const refused = (await linesAbout(wanted, 4)).filter(({ event }) => event.type === "refused");
    expect(refused.map(({ event }) => event)).toEqual(
      Array(2).fill(expect.objectContaining({ peer: "12D3KooWother", operation: "/job/attach", code: "NOT_FOUND" })),
    );
  });

  attack("a peer calls operations that there are not, and the keeper's own", "PROTOCOL, and a line", async () => {
    const before = linesIn(path).length;
    expect(await codeOf(callJson(dial(), "/keeper/audit", { events: [] }))).toBe("PROTOCOL");
    expect(await codeOf(callJson(dial(), "/keeper/cancel", { owner: null }))).toBe("PROTOCOL");
    const lines = await until(
      () => linesIn(path).slice(before),
      ({ length }) => length >= 2,
    );
    expect(lines.map(({ event }) => event)).toEqual([
      expect.objectContaining({ type: "refused", operation: "/keeper/audit", code: "PROTOCOL" }),
      expect.objectContaining({ type: "refused", operation: "/keeper/cancel", code: "PROTOCOL" }),
    ]);
  });

  attack(
    "a job's name holds a newline, JSON, and control characters",
    "PROTOCOL; the line is one line of ASCII",
    async () => {
      const name = 'job\n{"seq":1}\u001b]0;x\u0007\u009b31m\u202e';
      const before = linesIn(path).length;
      expect(await codeOf(run(request("true", { job: name as never })))).toBe("PROTOCOL");
      await until(
        () => linesIn(path).length,
        (length) => length > before,
      );
      // A program may be called anything.
      const wanted = request("", { steps: [{ argv: [name] }], cwd: `/${name}` });
      expect(await codeOf(run(wanted))).toBe("DENIED");
      await linesAbout(wanted, 1);
      const text = auditFiles(path)
        .map((file) => readFileSync(join(path, file.name), "latin1"))
        .join("");
      expect(text).toMatch(/^[\n\x20-\x7e]+$/);
      expect(verifyAudit(path).breaks).toEqual([]);
      for (const line of readLines(text)) expect(describeLine(line)).toMatch(/^[\x20-\x7e\u00b7\u2026]+$/);
    },
  );

  attack(
    "somebody makes the audit unwritable, and asks for a job",
    "AUDIT_FAILED, nothing starts, and it works again after",
    async () => {
      const proof = join(folder, "started");
      renameSync(path, `${path}-away`);
      writeFileSync(path, "");
      const wanted = request(`touch ${proof}`);
      const refusal = await run(wanted).catch((error: SortieError) => error);
      expect(refusal).toMatchObject({ code: "AUDIT_FAILED", message: expect.not.stringContaining(folder) });
      rmSync(path);
      renameSync(`${path}-away`, path);
      await works();
      expect(() => readFileSync(proof)).toThrow("ENOENT");
      expect((await linesAbout(wanted, 1)).map(({ event }) => event.type)).toEqual(["refused"]);
      expect(verifyAudit(path).breaks).toEqual([]);
    },
  );
});

describe("what was written", () => {
  let whole: string;
  beforeAll(async () => {
    whole = join(folder, "whole");
    const writer = openAudit(whole, () => {}, { file: 2_000, files: 4 });
    for (let number = 0; number < 60; number++)
      await writer.write([{ type: "paired", peer: `12D3KooW${number}`, name: `peer-${number}` }]);
    await writer.close();
    expect(verifyAudit(whole)).toMatchObject({ breaks: [], files: 4 });
  });

  /** The breaks of a copy in which somebody did this to one of the files. */
  function breaksOf(
    which: number,
    change: (lines: string[], file: string) => readonly string[] | undefined,
  ): readonly Break[] {
    const copy = join(folder, "copy");
    rmSync(copy, { recursive: true, force: true });
    cpSync(whole, copy, { recursive: true });
    const name = auditFiles(copy).at(which)?.name ?? "";
    const file = join(copy, name);
    const changed = change(readFileSync(file, "utf8").trimEnd().split("\n"), file);
    if (changed) writeFileSync(file, changed.map((line) => `${line}\n`).join(""));
    return verifyAudit(copy).breaks;
  }
  const nameOf = (which: number): string => auditFiles(whole).at(which)?.name ?? "";

  attack("a line is changed", "the line behind it shows", () => {
    const breaks = breaksOf(1, (lines) => lines.with(2, lines[2]?.replace("peer-", "pear-") ?? ""));
    expect(breaks).toEqual([{ file: nameOf(1), line: 4, what: expect.stringContaining("behind another line") }]);
  });
  attack("a line is changed to something else than JSON", "it shows", () => {
    expect(breaksOf(1, (lines) => lines.with(2, "{}"))).toMatchObject([{ file: nameOf(1), line: 3 }]);
  });
  attack("the very last line is changed", "the head shows", () => {
    const breaks = breaksOf(-1, (lines) => lines.with(-1, lines.at(-1)?.replace("peer-", "pear-") ?? ""));
    expect(breaks).toMatchObject([{ what: expect.stringContaining("its head says") }]);
  });
  attack("a line is removed", "the line behind it shows", () => {
    const breaks = breaksOf(1, (lines) => lines.toSpliced(2, 1));
    expect(breaks).toEqual([{ file: nameOf(1), line: 3, what: expect.stringContaining("comes here") }]);
  });
  attack("two lines are put in the other order", "the first of them shows", () => {
    const breaks = breaksOf(1, (lines) => [...lines.slice(0, 1), lines[2] ?? "", lines[1] ?? "", ...lines.slice(3)]);
    expect(breaks[0]).toMatchObject({ file: nameOf(1), line: 2 });
  });
  attack("a line is added, its chain made to fit", "the next one shows", () => {
    const breaks = breaksOf(1, (lines) => lines.toSpliced(2, 0, lines[1] ?? ""));
    expect(breaks[0]).toMatchObject({ file: nameOf(1), line: 3 });
  });
  attack("lines at the end are cut off", "the head shows", () => {
    const breaks = breaksOf(-1, (lines) => lines.slice(0, -2));
    expect(breaks).toMatchObject([{ what: expect.stringMatching(/ends with line \d+, and its head is line \d+/) }]);
  });
  attack("a file in the middle is removed", "the file behind it shows", () => {
    const breaks = breaksOf(1, (_lines, file) => void rmSync(file));
    expect(breaks).toMatchObject([{ file: nameOf(2), line: 1 }]);
  });
  attack("the oldest file is removed", "the newest one says that it ought to be there", () => {
    const breaks = breaksOf(0, (_lines, file) => void rmSync(file));
    expect(breaks).toMatchObject([{ what: expect.stringContaining("files before it are gone") }]);
  });
  attack("all but the last lines are removed, and their file is named to fit", "no file begins so", () => {
    const breaks = breaksOf(-1, (lines, file) => {
      for (const { name } of auditFiles(join(file, "..")).slice(0, -1)) rmSync(join(file, "..", name));
      rmSync(file);
      const left = lines.slice(2);
      const first = JSON.parse(left[0] ?? "").seq as number;
      writeFileSync(join(file, "..", fileName(first)), left.map((line) => `${line}\n`).join(""));
      return undefined;
    });
    expect(breaks).toMatchObject([{ line: 1, what: expect.stringContaining("lines before it are gone") }]);
  });
  attack("the newest file is removed", "the head shows", () => {
    const breaks = breaksOf(-1, (_lines, file) => void rmSync(file));
    expect(breaks.at(-1)).toMatchObject({ what: expect.stringContaining("its head is") });
  });
  attack("the end is cut off, and the head removed with it", "there is no head", () => {
    const breaks = breaksOf(-1, (lines, file) => {
      rmSync(join(file, "../head.json"));
      return lines.slice(0, -2);
    });
    expect(breaks).toMatchObject([{ what: expect.stringContaining("no head") }]);
  });
  attack(
    "everything is removed while the runner is stopped",
    "the next one begins anew; a head that was noted shows it",
    async () => {
      const noted = readHead(whole);
      const anew = join(folder, "anew");
      const writer = openAudit(anew, () => {});
      await writer.write([{ type: "paired", peer: "12D3KooW1", name: "peer-1" }]);
      await writer.close();
      expect(verifyAudit(anew).breaks).toEqual([]);
      expect(verifyAudit(anew, noted).breaks).toMatchObject([{ what: expect.stringContaining("which was noted") }]);
      expect(verifyAudit(whole, noted).breaks).toEqual([]);
    },
  );
  attack(
    "the end is cut off while the runner is stopped, and it is started again",
    "its first lines say so",
    async () => {
      const cut = join(folder, "cut");
      cpSync(whole, cut, { recursive: true });
      const file = join(cut, nameOf(-1));
      writeFileSync(file, readFileSync(file, "utf8").split("\n").slice(0, 2).join("\n"));
      const writer = openAudit(cut, () => {});
      await writer.write([{ type: "paired", peer: "12D3KooW1", name: "peer-1" }]);
      await writer.close();
      expect(linesIn(cut).find(({ event }) => event.type === "broken")?.event).toMatchObject({ file: nameOf(-1) });
      expect(verifyAudit(cut).breaks.length).toBeGreaterThan(0);
    },
  );
});

describe("a flood", () => {
  attack("strangers knock more often than anybody reads", "20 lines in a minute, and a count", async () => {
    const home = (name: string): string => {
      const made = join(folder, name);
      mkdirSync(made, { recursive: true, mode: 0o700 });
      return made;
    };
    const flooded = openFrontAudit(keeper, () => {});
    const node = await startNode({
      identity: await loadIdentity(home("listener")),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      trusts: () => false,
      pairingOpen: () => false,
      onStranger: flooded.stranger,
    });
    const stranger = await startNode({
      identity: await loadIdentity(home("stranger")),
      listen: [],
      trusts: () => true,
      pairingOpen: () => false,
    });
    const before = linesIn(path).length;
    try {
      for (let knock = 0; knock < limits.auditStrangers + 5; knock++)
        expect(await codeOf(stranger.open(node.peer, node.addresses(), CALL_PROTOCOL))).toBe("UNTRUSTED");
    } finally {
      await stranger.stop();
      await node.stop();
    }
    await flooded.close();
    const events = linesIn(path)
      .slice(before)
      .map(({ event }) => event);
    expect(events.filter(({ type }) => type === "stranger")).toEqual(
      Array(limits.auditStrangers).fill({ type: "stranger", peer: stranger.peer, host: "127.0.0.1" }),
    );
    expect(events.at(-1)).toEqual({ type: "counted", of: "stranger", count: 5 });
  });

  attack(
    "a paired peer asks a thousand times for what it may not",
    "60 lines in a minute, and a count; others have theirs",
    async () => {
      const before = linesIn(path).length;
      for (let tries = 0; tries < 1_000; tries++)
        audit.refused({ peer: "12D3KooWloud", name: "loud" }, (await denied()) as SortieError, {
          operation: "/job/run",
        });
      audit.refused({ peer: "12D3KooWquiet", name: "quiet" }, (await denied()) as SortieError, {
        operation: "/job/run",
      });
      const events = await until(
        () =>
          linesIn(path)
            .slice(before)
            .map(({ event }) => ("peer" in event ? event.peer : "")),
        (peers) => peers.includes("12D3KooWquiet"),
      );
      expect(events.filter((peer) => peer === "12D3KooWloud")).toHaveLength(limits.auditRefusals);
    },
  );
});

let denial: Promise<unknown> | undefined;
const denied = (): Promise<unknown> =>
  (denial ??= run(request("", { cwd: "/etc" }), "12D3KooWdenied").catch((error: unknown) => error));

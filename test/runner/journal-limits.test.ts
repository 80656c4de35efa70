import { readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { STDERR, STDOUT } from "../../protocol/chunk.ts";
import { limits } from "../../protocol/limits.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import type { Journal } from "../../runner/keeper/journal.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { until } from "../rig/rig.ts";
import { attach, finish, jobFolder, listJobs, request, startJob, testRunner } from "./calls.ts";
import { contentsOf, readTo, testJournal } from "./journals.ts";

const MiB = 1024 * 1024;
const piece = Buffer.alloc(10_000, "x");

/** Appends until the journal says it is full, or so many pieces are in. */
async function fill(journal: Journal, pieces: number): Promise<number> {
  for (let count = 0; count < pieces; count++) {
    if (journal.full) return count;
    journal.appendData(STDOUT, piece);
    await journal.settled();
  }
  return pieces;
}

const droppedOf = (bytes: Uint8Array) => contentsOf(bytes).controls.filter((message) => message.type === "dropped");

describe("a journal at its own limit", () => {
  it("makes the process of an owner who is there wait, and goes on for what he acknowledges", async () => {
    const { journal } = testJournal({ job: MiB });
    journal.setOwned(true);
    const reader = journal.read(0);
    let at = 0;
    // Many times over what it may hold: acknowledged bytes always make room.
    for (let rounds = 0; rounds < 20; rounds++) {
      expect(await fill(journal, 1_000)).toBeLessThan(120);
      let room = false;
      const waiting = journal.room().then(() => {
        room = true;
      });
      const { end } = journal;
      const { stdout } = contentsOf(await readTo(reader, at, end));
      expect(stdout.length).toBeGreaterThan(0);
      at = end;
      expect(room).toBe(false);
      journal.acknowledge(at);
      await waiting;
    }
    expect(at).toBeGreaterThan(10 * MiB);
    expect(journal.end - journal.start.offset).toBeLessThan(MiB);
  });

  it("goes on also where all of it came in one write that is larger than the limit", async () => {
    const { journal } = testJournal({ job: MiB });
    journal.setOwned(true);
    for (let count = 0; count < 300; count++) journal.appendData(STDOUT, piece);
    await journal.settled();
    expect(journal.full).toBe(true);
    journal.acknowledge(journal.end);
    expect(journal.full).toBe(false);
  });

  it("drops what comes while nobody is there to make room, and tells exactly how much, where it would stand", async () => {
    const { journal } = testJournal({ job: MiB });
    const sent = { stdout: 0, stderr: 0 };
    for (let count = 0; count < 300; count++) {
      const stream = count % 3 ? STDOUT : STDERR;
      journal.appendData(stream, piece);
      sent[stream === STDOUT ? "stdout" : "stderr"] += piece.length;
      expect(journal.full).toBe(false);
      await journal.settled();
    }
    const { end } = journal;
    expect(end).toBeLessThan(MiB + 2 * piece.length);
    // The owner comes back, takes it, and makes room: the next bytes stand behind the word of what is missing.
    journal.setOwned(true);
    const reader = journal.read(0);
    const first = await readTo(reader, 0, end);
    expect(droppedOf(first)).toEqual([]);
    journal.acknowledge(end);
    journal.appendData(STDOUT, Buffer.from("behind"));
    const rest = await readTo(reader, end, journal.end);
    const { tally } = contentsOf(first);
    const [dropped, ...others] = droppedOf(rest);
    expect(others).toEqual([]);
    expect(dropped).toMatchObject({
      stdout: sent.stdout - tally.bytes.stdout,
      stderr: sent.stderr - tally.bytes.stderr,
      reason: expect.stringContaining("full"),
    });
    expect(contentsOf(rest).stdout.toString()).toBe("behind");
  });

  it("lets a process go on whose owner leaves while it waits", async () => {
    const { journal } = testJournal({ job: MiB });
    journal.setOwned(true);
    await fill(journal, 1_000);
    const waiting = journal.room();
    journal.setOwned(false);
    await waiting;
    expect(journal.full).toBe(false);
  });

  it("waits for nobody once the job is being ended, and tells before the exit what was dropped", async () => {
    const { journal } = testJournal({ job: MiB });
    journal.setOwned(true);
    await fill(journal, 1_000);
    const waiting = journal.room();
    journal.waitForNobody();
    await waiting;
    journal.appendData(STDERR, piece);
    expect(journal.full).toBe(false);
    const bytes = { stdout: 0, stderr: 0 };
    journal.appendControl({ type: "exit", reason: "cancelled", by: "user", code: null, signal: "TERM", bytes });
    journal.close();
    const { controls } = contentsOf(await readTo(journal.read(0), 0, journal.end));
    expect(controls.map(({ type }) => type)).toEqual(["dropped", "exit"]);
    expect(controls[0]).toMatchObject({ stdout: 0, stderr: piece.length });
  });
});

describe("the limit of all journals", () => {
  it("lets each hold a little in any case: what nobody claims stops no other job", async () => {
    const one = testJournal({ all: 2 * MiB });
    await fill(one.journal, 300);
    expect(one.disk.used).toBeGreaterThanOrEqual(2 * MiB);
    const other = testJournal({ all: 2 * MiB }, one.folder, one.disk);
    other.journal.setOwned(true);
    const reader = other.journal.read(0);
    let at = 0;
    for (let rounds = 0; rounds < 10; rounds++) {
      expect(await fill(other.journal, 1_000)).toBeGreaterThan(90);
      await readTo(reader, at, other.journal.end);
      at = other.journal.end;
      other.journal.acknowledge(at);
      expect(other.journal.full).toBe(false);
    }
    expect(one.disk.used).toBeLessThan(4 * MiB);
  });
});

describe("a disk that takes nothing", () => {
  const full = { job: 100 * MiB };

  it("serves the owner from memory, and makes the process wait when that is full", async () => {
    const { journal, files, log } = testJournal(full);
    journal.setOwned(true);
    files.full = true;
    const reader = journal.read(0);
    let at = 0;
    for (let rounds = 0; rounds < 5; rounds++) {
      for (let count = 0; !journal.full; count++) {
        expect(count).toBeLessThan(1_200);
        journal.appendData(STDOUT, piece);
        await journal.settled();
      }
      const { stdout } = contentsOf(await readTo(reader, at, journal.end));
      expect(stdout.every((byte) => byte === 120)).toBe(true);
      at = journal.end;
      journal.acknowledge(at);
      expect(journal.full).toBe(false);
    }
    expect(at).toBeGreaterThan(15 * MiB);
    expect(log).toEqual([expect.stringContaining("no space left")]);
    expect(await journal.settled()).toBe(false);
  });

  it("is tried again, and then holds all that nobody has taken, in order", async () => {
    const { journal, files } = testJournal(full);
    journal.appendData(STDOUT, Buffer.from("before "));
    await journal.settled();
    files.full = true;
    journal.appendData(STDOUT, Buffer.from("meanwhile "));
    expect(await journal.settled()).toBe(false);
    journal.appendData(STDOUT, Buffer.from("then "));
    files.full = false;
    expect(await until(() => journal.settled(), Boolean)).toBe(true);
    journal.appendData(STDOUT, Buffer.from("after"));
    await journal.settled();
    expect(contentsOf(await readTo(journal.read(0), 0, journal.end)).stdout.toString()).toBe(
      "before meanwhile then after",
    );
  });

  it("has no hole when it works again: the journal begins where the owner's copy ends", async () => {
    const { journal, files, folder } = testJournal(full);
    journal.setOwned(true);
    journal.appendData(STDOUT, Buffer.alloc(50_000, "a"));
    await journal.settled();
    files.full = true;
    const reader = journal.read(0);
    for (let count = 0; count < 10; count++) {
      journal.appendData(STDOUT, Buffer.alloc(50_000, "b"));
      await journal.settled();
    }
    const had = journal.end;
    await readTo(reader, 0, had);
    journal.acknowledge(had);
    journal.appendData(STDERR, Buffer.alloc(50_000, "c"));
    files.full = false;
    expect(await until(() => journal.settled(), Boolean)).toBe(true);
    const { offset, before } = journal.start;
    expect(offset).toBeGreaterThan(50_000);
    expect(offset).toBeLessThanOrEqual(had);
    const left = contentsOf(await readTo(journal.read(offset), offset, journal.end));
    expect(before.stdout + left.tally.bytes.stdout).toBe(11 * 50_000);
    expect(left.stderr.length).toBe(50_000);
    expect(readdirSync(folder).length).toBe(1);
    // The owner misses nothing.
    expect(contentsOf(await readTo(reader, had, journal.end)).stderr.length).toBe(50_000);
  });

  it("drops what comes with nobody to take it once the job is being ended, rather than wait", async () => {
    const { journal, files } = testJournal(full);
    files.full = true;
    journal.waitForNobody();
    for (let count = 0; count < 1_000; count++) journal.appendData(STDOUT, piece);
    expect(journal.full).toBe(false);
    expect(journal.end).toBeLessThan(limits.journalMemoryBytes + 2 * piece.length);
  });
});

describe("a runner's limits", () => {
  it("let a job with an owner write many times what its journal may hold, and he gets all of it", async () => {
    const folder = jobFolder();
    const runner = await testRunner(folder, { journals: { ...defaultJournalLimits, job: MiB } });
    const call = await startJob(runner, request("head -c 30000000 /dev/zero"), { window: limits.window });
    const { exit, stdout, controls } = await finish(call);
    expect(stdout.length).toBe(30_000_000);
    expect(controls.filter(({ type }) => type === "dropped")).toEqual([]);
    expect(exit).toMatchObject({ reason: "exited", code: 0, bytes: { stdout: 30_000_000, stderr: 0 } });
  });

  it("let a job without its owner go on, and tell him what is missing", async () => {
    const folder = jobFolder();
    const runner = await testRunner(folder, { journals: { ...defaultJournalLimits, job: MiB } });
    const wanted = request("head -c 30000000 /dev/zero; echo end >&2");
    (await startJob(runner, wanted)).abort(new Error("gone"));
    await until(
      () => listJobs(runner),
      ([job]) => job?.running === false,
    );
    const { exit, stdout, stderr, controls } = await finish(await attach(runner, wanted));
    const dropped = controls.find((message) => message.type === "dropped");
    expect(stdout.length + (dropped?.stdout ?? 0)).toBe(30_000_000);
    expect(stderr.length + (dropped?.stderr ?? 0)).toBe(4);
    expect(exit).toMatchObject({ reason: "exited", code: 0, bytes: { stdout: 30_000_000, stderr: 4 } });
    expect(stdout.length).toBeLessThan(8 * MiB);
  });

  it("remove journals that were acknowledged, the oldest first, and no other", async () => {
    const folder = jobFolder();
    const keeper = await embeddedKeeper(folder);
    const runner = await testRunner(folder, { keeper, journals: { ...defaultJournalLimits, all: 8 * MiB } });
    const run = async (acknowledge: boolean) => {
      const wanted = request("head -c 2000000 /dev/zero");
      const call = await startJob(runner, wanted);
      if (acknowledge) await finish(call);
      else call.abort(new Error("gone"));
      await until(
        () => listJobs(runner),
        (jobs) => jobs.every((job) => !job.running && !job.attached),
      );
      return wanted.attemptId;
    };
    const claimed = [await run(true)];
    const unclaimed = await run(false);
    for (let index = 0; index < 6; index++) claimed.push(await run(true));
    const kept = (await listJobs(runner)).map((job) => job.attemptId).reverse();
    expect(kept).toContain(unclaimed);
    const left = kept.filter((attemptId) => attemptId !== unclaimed);
    expect(left.length).toBeLessThan(6);
    expect(left).toEqual(claimed.slice(-left.length));
    const names = readdirSync(join(folder, "journals"));
    expect(new Set(names.map((name) => name.slice(0, 12)))).toEqual(new Set(kept));
  });
});

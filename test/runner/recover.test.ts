import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { type AttemptId, type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import type { JournalControl } from "../../protocol/messages.ts";
import { type Backends, openBackends } from "../../runner/keeper/backends/index.ts";
import { diskBudget } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { killMarked } from "../../runner/keeper/process-tree.ts";
import { acknowledgeRecord, type JobRecord, writeRecord } from "../../runner/keeper/record.ts";
import { recover } from "../../runner/keeper/recover.ts";
import { testFolder } from "../rig/peers.ts";
import { isRunning, processesOf } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";
import { attach, codeOf, finish, listJobs, request, startJob, testRunner } from "./calls.ts";
import { contentsOf, readTo } from "./journals.ts";

const recordOf = (attemptId: AttemptId): JobRecord => ({
  attemptId,
  run: newRunId(),
  job: "job" as JobName,
  attempt: 1,
  owner: "test",
  startedAt: Date.now(),
  leaseMs: null,
});
const started = ({ attemptId, startedAt: at }: JobRecord): Uint8Array =>
  encodeControl({ type: "started", at, attemptId });
const exit: JournalControl = { type: "exit", reason: "exited", code: 0, bytes: { stdout: 0, stderr: 0 } };

interface Segment {
  readonly offset: number;
  readonly before?: { readonly stdout: number; readonly stderr: number };
  readonly bytes: Uint8Array;
}

/** What a keeper that died left: the folders, a record, and segments. */
function left(segments: readonly Segment[], record = recordOf(newAttemptId())) {
  const folder = testFolder();
  const place = { journals: join(folder, "journals"), work: join(folder, "work") };
  for (const path of Object.values(place)) mkdirSync(path);
  writeRecord(place.journals, record);
  for (const { offset, before = { stdout: 0, stderr: 0 }, bytes } of segments) {
    const name = `${record.attemptId}.${offset}.${before.stdout}.${before.stderr}.chunks`;
    writeFileSync(join(place.journals, name), bytes);
  }
  return { ...place, folder, record };
}

const backendsIn = (folder: string): Backends => openBackends({ folder, owner: "the-recovery", log() {} });

/** The next keeper's look, and what each journal holds then. */
async function taken(
  place: { readonly folder: string; readonly journals: string; readonly work: string },
  given?: Backends,
) {
  const disk = diskBudget(
    () => {},
    () => {},
  );
  const backend = given ?? backendsIn(place.folder);
  const found = await recover({ ...place, disk, backend });
  if (!given) await backend.close();
  return Promise.all(
    found.map(async ({ record, journal, acknowledged }) => {
      const { offset } = journal.start;
      const bytes = await readTo(journal.read(offset), offset, journal.end);
      return { record, acknowledged, offset, bytes, used: disk.used, ...contentsOf(bytes) };
    }),
  );
}

describe("what a keeper that died left", () => {
  it("leaves nothing of a mark that was half made", async () => {
    const place = left([]);
    symlinkSync("local 1", join(place.work, `${place.record.attemptId}.mark.new`));
    await taken(place);
    expect(readdirSync(place.work)).toEqual([]);
  });

  for (const [what, last] of Object.entries({
    "a chunk of data": encodeChunk(STDERR, Buffer.from("the last words, forty bytes of them, yes")),
    "a control chunk": encodeControl({ type: "mark", at: 1_234 }),
    "an exit": encodeControl(exit),
  })) {
    it(`is cut between two chunks, wherever ${what} broke off, and ends once, as lost`, async () => {
      const record = recordOf(newAttemptId());
      const first = Buffer.concat([started(record), encodeChunk(STDOUT, Buffer.from("one "))]);
      const second = Buffer.concat([
        encodeChunk(STDERR, Buffer.from("oh")),
        encodeControl({ type: "dropped", stdout: 70, stderr: 5, reason: "full" }),
        encodeChunk(STDOUT, Buffer.from("two")),
      ]);
      const whole = Buffer.concat([first, second]);
      // The same for all: each of its own starts a process.
      const backend = backendsIn(testFolder());
      for (let cut = 0; cut < last.length; cut++) {
        const place = left(
          [
            { offset: 0, bytes: first },
            {
              offset: first.length,
              before: { stdout: 4, stderr: 0 },
              bytes: Buffer.concat([second, last.subarray(0, cut)]),
            },
          ],
          record,
        );
        const [job, ...others] = await taken(place, backend);
        expect(others).toEqual([]);
        expect(job?.bytes.subarray(0, whole.length).equals(whole)).toBe(true);
        const { tally } = contentsOf(whole);
        expect(contentsOf(job?.bytes.subarray(whole.length) ?? Buffer.alloc(0)).controls).toEqual([
          {
            type: "exit",
            reason: "lost",
            code: null,
            bytes: { stdout: 7 + 70, stderr: 2 + 5 },
            hash: tally.hash(),
            message: expect.stringContaining("ended"),
          },
        ]);
        expect(job?.used).toBe(job?.bytes.length);
        // The keeper after that one finds nothing more to do.
        const [again] = await taken(place, backend);
        expect(again?.bytes.equals(job?.bytes ?? Buffer.alloc(0))).toBe(true);
      }
      await backend.close();
    });
  }

  it("ends as lost where nothing was written yet, or only half a chunk", async () => {
    const record = recordOf(newAttemptId());
    for (const segments of [
      [],
      [{ offset: 0, bytes: new Uint8Array(0) }],
      [{ offset: 0, bytes: started(record).subarray(0, 20) }],
    ]) {
      const [job] = await taken(left(segments, record));
      expect(job?.controls).toMatchObject([{ type: "exit", reason: "lost", bytes: { stdout: 0, stderr: 0 } }]);
      expect(job?.offset).toBe(0);
    }
  });

  it("is left as it is where the exit was written, acknowledged or not", async () => {
    for (const acknowledge of [false, true]) {
      const record = recordOf(newAttemptId());
      const bytes = Buffer.concat([started(record), encodeChunk(STDOUT, Buffer.from("x")), encodeControl(exit)]);
      const place = left([{ offset: 0, bytes }], record);
      if (acknowledge) acknowledgeRecord(place.journals, record.attemptId);
      const [job] = await taken(place);
      expect(job).toMatchObject({ record, acknowledged: acknowledge, offset: 0 });
      expect(job?.bytes.equals(bytes)).toBe(true);
    }
  });

  it("counts what stands before the first segment that is left, and proves nothing of what it does not have", async () => {
    const offset = 10_000;
    const bytes = encodeChunk(STDOUT, Buffer.from("rest"));
    const [job] = await taken(left([{ offset, before: { stdout: 9_000, stderr: 300 }, bytes }]));
    expect(job?.offset).toBe(offset);
    const [end] = job?.controls ?? [];
    expect(end).toMatchObject({ type: "exit", reason: "lost", bytes: { stdout: 9_004, stderr: 300 } });
    expect(end).not.toHaveProperty("hash");
  });

  for (const [what, damage] of Object.entries({
    "no chunks": Buffer.alloc(500, 0xff),
    "control that is none": Buffer.concat([Uint8Array.of(3, 0, 0, 0, 2), Buffer.from("{}"), Buffer.alloc(100)]),
  })) {
    it(`is cut where the machine left ${what}, also in the middle of an earlier segment`, async () => {
      const good = encodeChunk(STDOUT, Buffer.from("good"));
      const later = encodeChunk(STDOUT, Buffer.from("later"));
      for (const segments of [
        [{ offset: 0, bytes: Buffer.concat([good, damage]) }],
        [
          { offset: 0, bytes: Buffer.concat([good, damage]) },
          { offset: good.length + damage.length, bytes: later },
        ],
      ]) {
        const place = left(segments);
        const [job] = await taken(place);
        expect(job?.stdout.toString()).toBe("good");
        expect(job?.controls).toMatchObject([{ type: "exit", reason: "lost", bytes: { stdout: 4, stderr: 0 } }]);
        expect(job?.used).toBe(job?.bytes.length);
        expect(readdirSync(place.journals).filter((name) => name.endsWith(".chunks")).length).toBe(1);
      }
    });
  }

  it("is cut where the machine left zeros behind what was written", async () => {
    const bytes = Buffer.concat([encodeChunk(STDOUT, Buffer.from("good")), Buffer.alloc(501)]);
    const [job] = await taken(left([{ offset: 0, bytes }]));
    expect(job?.stdout.toString()).toBe("good");
    expect(job?.controls).toMatchObject([{ type: "exit", reason: "lost", bytes: { stdout: 4, stderr: 0 } }]);
  });

  it("is removed where nobody could ask for it: a record that is damaged, segments without one", async () => {
    const place = left([{ offset: 0, bytes: encodeChunk(STDOUT, Buffer.from("x")) }]);
    const path = join(place.journals, `${place.record.attemptId}.json`);
    const { length } = readFileSync(path);
    const orphan = newAttemptId();
    for (const cut of [0, 1, Math.floor(length / 2), length - 1]) {
      writeFileSync(path, JSON.stringify(place.record));
      truncateSync(path, cut);
      writeFileSync(join(place.journals, `${orphan}.0.0.0.chunks`), "x");
      expect(await taken(place)).toEqual([]);
      expect(readdirSync(place.journals)).toEqual([]);
    }
    writeFileSync(path, JSON.stringify({ ...place.record, owner: 7 }));
    expect(await taken(place)).toEqual([]);
    expect(existsSync(path)).toBe(false);
  });

  it("is taken over by the others where one cannot be ended", async () => {
    const bytes = encodeChunk(STDOUT, Buffer.from("x"));
    const place = left([{ offset: 0, bytes }]);
    const record = recordOf(newAttemptId());
    writeRecord(place.journals, record);
    // A folder in a segment's place: nothing can be read or written there.
    mkdirSync(join(place.journals, `${record.attemptId}.0.0.0.chunks`));
    const found = await taken(place);
    expect(found.map((job) => job.record.attemptId)).toEqual([place.record.attemptId]);
  });

  it("has no process any more: neither in the job's group nor out of it", async () => {
    const place = left([]);
    const { attemptId } = place.record;
    mkdirSync(join(place.work, attemptId));
    mkdirSync(join(place.work, attemptId, "deep"));
    const env = { PATH: process.env["PATH"], SORTIE_ATTEMPT_ID: attemptId };
    const child = spawn("/bin/sh", ["-c", "trap '' TERM; setsid sleep 4876 & sleep 4877 & echo up; wait"], {
      env,
      detached: true,
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ended = once(child, "exit");
    await once(child.stdout, "data");
    await taken(place);
    await ended;
    expect(
      await until(
        () => processesOf(attemptId),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
    expect(readdirSync(place.work)).toEqual([]);
  });
});

it("a process is known by its mark also while it becomes another program", async () => {
  // It becomes another one all the time: a look often finds it with nothing in its environment yet.
  const becomes = 'exec /usr/bin/env A=1 /bin/sh -c "$BECOMES"';
  for (let round = 0; round < 30; round++) {
    const attempt = newAttemptId();
    const env = { PATH: process.env["PATH"], SORTIE_ATTEMPT_ID: attempt, BECOMES: becomes };
    const child = spawn("/bin/sh", ["-c", becomes], { env, detached: true, stdio: "ignore" });
    try {
      await killMarked(new Set([attempt]));
      expect(
        await until(
          () => isRunning(child.pid as number),
          (is) => !is,
        ),
      ).toBe(false);
    } finally {
      child.kill("SIGKILL");
    }
  }
});

describe("a keeper after another one", () => {
  it("serves what the one before it ended, takes no attempt twice, and reads on what it lost", async () => {
    const record = recordOf(newAttemptId());
    const bytes = Buffer.concat([started(record), encodeChunk(STDOUT, Buffer.from("kept"))]);
    const { folder } = left([{ offset: 0, bytes }], record);
    const runner = await testRunner(folder, { keeper: await embeddedKeeper(folder) });
    const again = request("true", { attemptId: record.attemptId });
    expect(await codeOf(startJob(runner, again))).toBe("DUPLICATE");
    expect(await listJobs(runner)).toMatchObject([{ running: false, attached: false, acknowledged: false }]);
    expect(await codeOf(attach(runner, again, { peer: "other" }))).toBe("NOT_FOUND");
    expect(runner.info().busy).toBe(0);
    const call = await attach(runner, again, { offset: bytes.length });
    // Its owner does not know yet that nobody reads his stdin any more.
    await call.write(encodeChunk(0, Buffer.from("for nobody")));
    await call.write(encodeControl({ type: "eof" }));
    await call.write(encodeControl({ type: "cancel", by: "user" }));
    const { exit } = await finish(call, bytes.length);
    expect(exit).toMatchObject({ reason: "lost", bytes: { stdout: 4, stderr: 0 } });
    await until(
      () => listJobs(runner),
      ([job]) => job?.acknowledged === true,
    );
    // Written down once the journal is on the disk.
    const kept = await until(
      () => readdirSync(join(folder, "journals")),
      (names) => names.includes(`${record.attemptId}.done.json`),
    );
    expect(kept).toContain(`${record.attemptId}.done.json`);
  });
});

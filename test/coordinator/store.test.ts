import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync, StatementSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { RunEvent, RunOutcome } from "../../coordinator/events.ts";
import { outcomeOfTry } from "../../coordinator/store/rows.ts";
import { openStore } from "../../coordinator/store/store.ts";
import type { Exit } from "../../protocol/exit.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import { root } from "../rig/rig.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-store-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

const exit = (code: number): Exit => ({ type: "exit", reason: "exited", code, bytes: { stdout: 0, stderr: 0 } });
const runStarted = (run: string, jobs: readonly string[], at = 1_000): RunEvent => ({
  type: "run-started",
  at,
  run: run as RunId,
  recipe: "/recipes/ci.ts",
  jobs: jobs.map((name) => ({ name: name as JobName, needs: [] })),
});
const jobDispatched = (job: string, attemptId: string, attempt = 1): RunEvent => ({
  type: "job-dispatched",
  runnerId: "12D3KooW",
  at: 2_000,
  job: job as JobName,
  attempt,
  attemptId: attemptId as AttemptId,
  runner: "w1",
});
const jobEnded = (job: string, code: number): RunEvent => ({
  type: "job-ended",
  at: 3_000,
  job: job as JobName,
  outcome: code === 0 ? "passed" : "failed",
  exit: exit(code),
  durationMs: 1_000,
});
const runEnded = (run: string, outcome: RunOutcome): RunEvent => ({
  type: "run-ended",
  at: 4_000,
  run: run as RunId,
  outcome,
  durationMs: 3_000,
});

/** Another process that has the store open; the code finds `store`, and says what it has to say with `say`. */
function another(code: string, limit = "") {
  const script = `
    import { openStore } from ${JSON.stringify(join(root, "coordinator/store/store.ts"))};
    const say = (text) => process.stdout.write(text + "\\n");
    const store = openStore(${JSON.stringify(folder)});
    const reader = store.reader();
    ${code}`;
  const child = spawn("sh", ["-c", `${limit} exec "$0" "$@"`, process.execPath, "--input-type=module", "-e", script]);
  let said = "";
  child.stdout.on("data", (bytes) => {
    said += bytes;
  });
  child.stderr.on("data", (bytes) => {
    said += bytes;
  });
  return { child, said: () => said, closed: once(child, "close") };
}

describe("the store", () => {
  it("has every attempt of a job that it shows as settled, also where that is written while it is read", async () => {
    const [writing, reading] = [openStore(folder), openStore(folder)];
    const writer = writing.reader();
    await writer.on(runStarted("run", ["job"]));
    // Between the first question and the next.
    const all = StatementSync.prototype.all;
    const asked = vi.spyOn(StatementSync.prototype, "all").mockImplementation(function (
      this: StatementSync,
      ...values
    ) {
      const rows = all.apply(this, values as never);
      if (asked.mock.calls.length === 1) {
        void writer.on(jobDispatched("job", "attempt"));
        void writer.on(jobEnded("job", 0));
        void writer.on(runEnded("run", "passed"));
      }
      return rows;
    });
    try {
      const settled = reading.jobs("run" as RunId).filter(({ outcome }) => outcome !== null);
      for (const job of settled) expect(job.attempts).toHaveLength(1);
      expect(asked.mock.calls.length).toBe(2);
      expect(reading.jobs("run" as RunId)).toMatchObject([{ outcome: "passed", attempts: [{ outcome: "passed" }] }]);
    } finally {
      asked.mockRestore();
      writing.close();
      reading.close();
    }
  });

  it("shows a run to others as it goes, and as it came out", () => {
    const store = openStore(folder);
    const other = openStore(folder);
    const reader = store.reader();
    reader.on(runStarted("run1", ["build", "test"]));
    expect(other.runs(10)).toMatchObject([{ id: "run1", state: "running", recipe: "/recipes/ci.ts" }]);
    reader.on(jobDispatched("build", "att1"));
    reader.on(jobEnded("build", 7));
    reader.on({
      type: "job-ended",
      at: 3_000,
      job: "test" as JobName,
      outcome: "skipped",
      message: "build failed",
      durationMs: 0,
    });
    reader.on(runEnded("run1", "failed"));
    expect(other.findRun("last")).toMatchObject({ state: "failed", startedAt: 1_000, endedAt: 4_000 });
    expect(other.jobs("run1" as RunId)).toMatchObject([
      { name: "build", outcome: "failed", attempts: [{ id: "att1", runner: "w1", exit: exit(7), endedAt: 3_000 }] },
      { name: "test", outcome: "skipped", message: "build failed", attempts: [] },
    ]);
    store.close();
    other.close();
  });

  it("keeps how an attempt came out, which its exit alone does not tell", () => {
    const store = openStore(folder);
    const reader = store.reader();
    reader.on(runStarted("run1", ["a"]));
    const retrying = { type: "job-retrying", at: 3_000, job: "a" as JobName, delayMs: 0, durationMs: 1 } as const;
    reader.on(jobDispatched("a", "att1"));
    reader.on({ ...retrying, attempt: 1, outcome: "lost", exit: exit(1) });
    reader.on(jobDispatched("a", "att2", 2));
    reader.on({ ...retrying, attempt: 2, outcome: "lost", interrupted: true });
    reader.on(jobDispatched("a", "att3", 3));
    reader.on({ ...retrying, attempt: 3, outcome: "failed", exit: exit(1) });
    reader.on(jobDispatched("a", "att4", 4));
    const attempts = store.jobs("run1" as RunId)[0]?.attempts ?? [];
    expect(attempts.map(({ outcome }) => outcome)).toEqual(["lost", "interrupted", "failed", null]);
    expect(attempts.slice(0, 3).map(outcomeOfTry)).toEqual(["lost", "lost", "failed"]);
    // Of a record that is older than the column.
    const [first] = attempts;
    expect(first && outcomeOfTry({ ...first, outcome: null })).toBe("failed");
    store.close();
  });

  it("keeps what came of a job that is given again, unless it is another of the same name", () => {
    const store = openStore(folder);
    const reader = store.reader();
    const give = (fingerprint: string): void => {
      const jobs = [{ name: "a.one" as JobName, needs: ["a" as JobName], fingerprint }];
      reader.on({ type: "jobs-joined", at: 2_000, by: "a" as JobName, jobs });
    };
    const given = () => store.jobs("run1" as RunId)[1];
    reader.on(runStarted("run1", ["a"]));
    give("first");
    reader.on({ ...(jobEnded("a.one", 0) as RunEvent & { type: "job-ended" }), output: 3 });
    give("first");
    expect(given()).toMatchObject({ fingerprint: "first", outcome: "passed", output: 3 });
    give("second");
    expect(given()).toMatchObject({ fingerprint: "second", outcome: null, output: undefined });
    store.close();
  });

  it("is for its owner alone", () => {
    const store = openStore(folder);
    store.reader().on(runStarted("run1", []));
    for (const name of ["sortie.db", "sortie.db-wal"]) expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
    store.close();
  });

  it("keeps every row of ten thousand jobs", () => {
    const store = openStore(folder);
    const reader = store.reader();
    const names = Array.from({ length: 10_000 }, (_, index) => `job-${index}`);
    reader.on(runStarted("run1", names));
    for (const [index, name] of names.entries()) {
      reader.on(jobDispatched(name, `att${index}`));
      reader.on(jobEnded(name, index % 256));
    }
    store.close();
    const again = openStore(folder);
    const jobs = again.jobs("run1" as RunId);
    expect(jobs.map((job) => job.name)).toEqual(names);
    expect(jobs.every((job, index) => (job.attempts[0]?.exit as { code?: number })?.code === index % 256)).toBe(true);
    again.close();
  });

  it("never shows a run as running whose process was killed, and keeps what was written", async () => {
    const { child, said, closed } = another(`
      reader.on(${JSON.stringify(runStarted("run1", ["a", "b"]))});
      reader.on(${JSON.stringify(jobDispatched("a", "att1"))});
      // A look writes what waits.
      store.runs(1);
      say("ready");
      setInterval(() => {}, 1000);`);
    while (!said().includes("ready")) await once(child.stdout, "data");
    const store = openStore(folder);
    const attempt = { run: "run1" as RunId, id: "att1" as AttemptId };
    expect(store.findRun("run1").state).toBe("running");
    expect(store.isLive(attempt)).toBe(true);
    expect(store.mayStart("run1" as RunId, "b" as JobName)).toBe(true);
    child.kill("SIGKILL");
    await closed;
    expect(store.findRun("run1").state).toBe("interrupted");
    expect(store.isLive(attempt)).toBe(false);
    expect(store.mayStart("run1" as RunId, "b" as JobName)).toBe(false);
    expect(store.jobs("run1" as RunId)[0]?.attempts).toMatchObject([{ id: "att1", endedAt: null, exit: undefined }]);
    store.close();
  });

  it("can be made by many processes at once", async () => {
    const others = Array.from({ length: 6 }, (_, index) =>
      another(
        `for (let i = 0; i < 10; i++) reader.on({ ...${JSON.stringify(runStarted("", []))}, run: "run${index}-" + i }); store.close();`,
      ),
    );
    for (const other of others) {
      expect([await other.closed, other.said()]).toEqual([[0, null], ""]);
    }
    const store = openStore(folder);
    expect(store.runs(100).length).toBe(60);
    store.close();
  });

  it("fails with STORE_FAILED where it cannot write, and goes on failing", async () => {
    const { said, closed } = another(
      `
      reader.on(${JSON.stringify(runStarted("run1", []))});
      const jobs = Array.from({ length: 50000 }, (_, index) => ({ name: "job-" + index, needs: [] }));
      for (let attempt = 0; attempt < 2; attempt++)
        try { reader.on({ ...${JSON.stringify(runStarted("run2", []))}, jobs }); say("written"); } catch (error) { say(error.code); }
      try { store.close(); } catch (error) { say(error.code); }`,
      "ulimit -f 1000;",
    );
    await closed;
    expect(said()).toBe("STORE_FAILED\nSTORE_FAILED\nSTORE_FAILED\n");
    const store = openStore(folder);
    expect(store.runs(10).map((run) => run.id)).toEqual(["run1"]);
    store.close();
  });

  it("tells a damaged record from one of a later version, and touches neither", () => {
    const path = join(folder, "sortie.db");
    writeFileSync(path, "this is not a database, however long it may be ".repeat(100));
    expect(() => openStore(folder)).toThrow(expect.objectContaining({ code: "STATE_INVALID" }));
    rmSync(path);
    openStore(folder).close();
    const database = new DatabaseSync(path);
    database.exec("PRAGMA user_version = 999");
    database.close();
    expect(() => openStore(folder)).toThrow(/version 999/);
  });

  it("refuses an exit that is none", () => {
    const store = openStore(folder);
    const reader = store.reader();
    reader.on(runStarted("run1", ["a"]));
    reader.on(jobDispatched("a", "att1"));
    reader.on(runEnded("run1", "passed"));
    const database = new DatabaseSync(join(folder, "sortie.db"));
    for (const wrong of ["{", '{"type":"exit","reason":"exited","code":9999}']) {
      database.prepare("UPDATE attempts SET exit = ?").run(wrong);
      expect(() => store.jobs("run1" as RunId)).toThrow(expect.objectContaining({ code: "STATE_INVALID" }));
    }
    database.close();
    store.close();
  });

  it("says that it cannot be made where its folder cannot", () => {
    mkdirSync(join(folder, "sortie.db"));
    expect(() => openStore(folder)).toThrow(expect.objectContaining({ code: "STORE_FAILED" }));
  });
});

describe("what a person types", () => {
  it("finds a run and a job by prefix, by RUN/JOB, and by a job's name in the latest run that has it", () => {
    const store = openStore(folder);
    for (const [index, run] of ["abc1", "abd2"].entries()) {
      const reader = store.reader();
      reader.on(runStarted(run, index === 0 ? ["build", "only"] : ["build"], 1_000 + index));
      reader.on(jobDispatched("build", `${index}att`));
      reader.on(jobEnded("build", 0));
      reader.on(runEnded(run, "passed"));
    }
    expect(store.findRun("abc").id).toBe("abc1");
    expect(store.findJob("build")).toMatchObject({
      run: "abd2",
      job: "build",
      byAttempt: false,
      attempt: { id: "1att" },
    });
    expect(store.findJob("abc/build")).toMatchObject({ run: "abc1", attempt: { id: "0att" } });
    expect(store.findJob("last/build").run).toBe("abd2");
    expect(store.findJob("0a")).toMatchObject({ run: "abc1", job: "build", byAttempt: true });
    expect(store.findJob("only")).toEqual({ run: "abc1", job: "only", attempt: undefined, byAttempt: false });

    const told = (find: () => unknown): { code: string; message: string; hint: string } => {
      try {
        find();
      } catch (error) {
        return error as { code: string; message: string; hint: string };
      }
      throw new Error("it was found");
    };
    expect(told(() => store.findRun("ab"))).toMatchObject({
      code: "AMBIGUOUS",
      message: expect.stringMatching(/abc1, abd2/),
    });
    for (const text of ["", "zzz", "%", "_"]) expect(told(() => store.findRun(text)).code).toBe("NOT_FOUND");
    expect(told(() => store.findJob("abc/bild"))).toMatchObject({ code: "NOT_FOUND", hint: "Did you mean build?" });
    expect(told(() => store.findJob("nothing")).code).toBe("NOT_FOUND");
    store.close();
  });

  it("ends an attempt that was lost when the next one starts", () => {
    const store = openStore(folder);
    const reader = store.reader();
    reader.on(runStarted("run1", ["a"]));
    reader.on(jobDispatched("a", "att1"));
    expect(store.isLive({ run: "run1" as RunId, id: "att1" as AttemptId })).toBe(true);
    reader.on(jobDispatched("a", "att2", 2));
    expect(store.isLive({ run: "run1" as RunId, id: "att1" as AttemptId })).toBe(false);
    expect(store.lastAttempt("run1" as RunId, "a" as JobName)?.id).toBe("att2");
    expect(store.jobs("run1" as RunId)[0]?.attempts).toMatchObject([
      { id: "att1", message: "lost: the job was tried again", exit: undefined },
      { id: "att2", endedAt: null },
    ]);
    const lost: Exit = { type: "exit", reason: "lost", code: null, bytes: { stdout: 1, stderr: 0 }, message: "gone" };
    reader.on({
      type: "job-retrying",
      at: 5,
      job: "a" as JobName,
      attempt: 1,
      outcome: "lost",
      delayMs: 0,
      exit: lost,
      durationMs: 1,
    });
    reader.on(jobDispatched("a", "att3", 3));
    expect(store.jobs("run1" as RunId)[0]?.attempts).toMatchObject([{}, { exit: lost, endedAt: 5 }, { endedAt: null }]);
    store.close();
  });
});

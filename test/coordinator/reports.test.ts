// The reports of a run, on recorded events: JUnit XML read by a strict parser, and times as text.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { SaxesParser } from "saxes";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { JobOutcome, RunEvent } from "../../coordinator/events.ts";
import { criticalPath, renderTimings, spent } from "../../coordinator/views/gantt.ts";
import { junitReport } from "../../coordinator/views/junit.ts";
import { collectTimings, type Timings } from "../../coordinator/views/timings.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";

const run = newRunId();
const name = (job: string): JobName => job as JobName;
const begun = (jobs: Readonly<Record<string, readonly string[]>>, recipe = "/repo/ci.ts"): RunEvent => ({
  type: "run-started",
  at: 0,
  run,
  recipe,
  jobs: Object.entries(jobs).map(([job, needs]) => ({ name: name(job), needs: needs.map(name) })),
});
const dispatched = (job: string, at: number): RunEvent => ({
  type: "job-dispatched",
  ...{ at, job: name(job), attempt: 1, attemptId: newAttemptId(), runner: "w1", runnerId: "12D3" },
});
const started = (job: string, at: number, attempt = 1): RunEvent => ({
  type: "job-started",
  ...{ at, job: name(job), attempt, attemptId: newAttemptId(), runner: "w1" },
});
const output = (job: string, bytes: string | Uint8Array): RunEvent => ({
  type: "job-output",
  ...{ at: 1, job: name(job), stream: "stdout", bytes: Buffer.from(bytes as string) },
});
const ended = (job: string, at: number, outcome: JobOutcome = "passed", message?: string): RunEvent => ({
  type: "job-ended",
  ...{ at, job: name(job), outcome, durationMs: 1_500, ...(message === undefined ? {} : { message }) },
});
const over = (at: number): RunEvent => ({ type: "run-ended", at, run, outcome: "failed", durationMs: at });

interface Element {
  readonly name: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly children: Element[];
  text: string;
}

/** Throws where it is no well-formed XML. */
function parse(xml: string): Element {
  const top: Element = { name: "", attributes: {}, children: [], text: "" };
  const path = [top];
  const parser = new SaxesParser();
  parser.on("error", (error) => {
    throw error;
  });
  parser.on("opentag", ({ name: tag, attributes }) => {
    const element = { name: tag, attributes, children: [], text: "" };
    path.at(-1)?.children.push(element);
    path.push(element);
  });
  parser.on("closetag", () => void path.pop());
  parser.on("text", (text) => {
    (path.at(-1) as Element).text += text;
  });
  parser.write(xml).close();
  return top.children[0] as Element;
}

describe("the JUnit report", () => {
  let folder: string;
  let file: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sortie-reports-"));
    file = join(folder, "junit.xml");
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  async function report(...events: RunEvent[]): Promise<Element> {
    const reader = junitReport(file);
    for (const event of events) await reader.on(event);
    expect(existsSync(file)).toBe(false);
    await reader.close();
    expect(existsSync(`${file}.partial`)).toBe(false);
    return parse(readFileSync(file, "utf8"));
  }

  it("has a testcase for each attempt, with what came of it, its time, and its last lines", async () => {
    const suites = await report(
      begun({ good: [], bad: [], gone: [], stopped: [], after: ["bad"] }),
      ...["good", "bad", "gone", "stopped"].map((job) => started(job, 1)),
      output("good", "a <b> & ]]> c\n"),
      ended("good", 2),
      ended("bad", 2, "failed", 'exit 3\nand "more" <x>'),
      ended("after", 2, "skipped", "bad failed"),
      {
        type: "job-retrying",
        at: 2,
        job: name("gone"),
        attempt: 1,
        outcome: "lost",
        delayMs: 0,
        message: "the runner went",
        durationMs: 10,
      },
      started("gone", 3, 2),
      ended("gone", 4, "lost", "gone again"),
      ended("stopped", 5, "cancelled", "cancelled by the user"),
      over(6_000),
    );
    const [suite] = suites.children;
    const counts = { tests: "6", failures: "1", errors: "2", skipped: "2", time: "6.000" };
    expect(suites.attributes).toEqual(counts);
    expect(suite?.attributes).toEqual({ name: "ci.ts", timestamp: "1970-01-01T00:00:00", ...counts });
    const cases = suite?.children.map(({ attributes, children }) => [
      attributes["name"],
      attributes["time"],
      ...children.map((one) => [one.name, one.attributes["type"], one.attributes["message"] ?? one.text]),
    ]);
    expect(cases).toEqual([
      ["good", "1.500", ["system-out", undefined, "a <b> & ]]> c"]],
      ["bad", "1.500", ["failure", "failed", 'exit 3 and "more" <x>']],
      ["after", "1.500", ["skipped", undefined, "bad failed"]],
      ["gone", "0.010", ["skipped", undefined, "the runner went; tried again"]],
      ["gone (attempt 2)", "1.500", ["error", "lost", "gone again"]],
      ["stopped", "1.500", ["error", "cancelled", "cancelled by the user"]],
    ]);
  });

  it("is well-formed whatever a job writes, whatever it is called in", async () => {
    const text = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.string({ unit: "binary", maxLength: 20 }),
      fc.constantFrom("\ud800", "\uffff\ufffe", "\u0000\u0008\u000b\u001b[31mx", "]]>", "<!--", "&#0;"),
    );
    await fc.assert(
      fc.asyncProperty(text, fc.string({ unit: "binary", maxLength: 400 }), async (written, words) => {
        const suites = await report(
          begun({ a: [] }, `/x/${words}`),
          started("a", 1),
          output("a", written),
          ended("a", 2, "failed", words),
          over(3),
        );
        expect(suites.children[0]?.children).toHaveLength(1);
        rmSync(file);
      }),
      { numRuns: 200 },
    );
  });

  it("holds the end of a flood, and no more", async () => {
    const suites = await report(
      begun({ a: [] }),
      started("a", 1),
      ...Array.from({ length: 100 }, (_, index) => output("a", `${`line ${index} `.padEnd(9_999, "x")}\n`)),
      ended("a", 2),
      over(3),
    );
    const text = suites.children[0]?.children[0]?.children[0]?.text ?? "";
    expect(text).toMatch(/^line 99 x+$/);
    expect(text.length).toBeLessThan(17_000);
  });

  it("names the jobs of a run that broke off", async () => {
    const suites = await report(begun({ a: [], b: ["a"] }), started("a", 1));
    const cases = suites.children[0]?.children.map(({ attributes, children }) => [
      attributes["name"],
      children[0]?.attributes["message"],
    ]);
    expect(cases).toEqual([
      ["a", "the run broke off"],
      ["b", "the run broke off"],
    ]);
    expect(suites.attributes["errors"]).toBe("2");
  });

  it("leaves nothing where no run began, and says at once that it cannot be written", async () => {
    await junitReport(file).close();
    expect([existsSync(file), existsSync(`${file}.partial`)]).toEqual([false, false]);
    expect(() => junitReport(join(folder, "none", "junit.xml"))).toThrow(/--junit .* cannot be written/);
  });
});

describe("the times of a run", () => {
  const timingsOf = (...events: RunEvent[]): Timings => {
    const collected = collectTimings();
    for (const event of events) collected.on(event);
    return collected.timings() as Timings;
  };
  const diamond = timingsOf(
    begun({ first: [], left: ["first"], right: ["first"], last: ["left", "right"] }),
    dispatched("first", 100),
    started("first", 200),
    ended("first", 1_000),
    dispatched("left", 1_000),
    started("left", 1_000),
    ended("left", 2_000),
    dispatched("right", 1_500),
    { type: "job-returned", at: 1_600, job: name("right"), attemptId: newAttemptId() },
    dispatched("right", 2_000),
    started("right", 2_100),
    ended("right", 4_000),
    dispatched("last", 4_000),
    started("last", 4_050),
    ended("last", 5_000, "failed"),
    over(5_000),
  );

  it("are known for each job: for needs, for a slot, starting, running", () => {
    const times = Object.fromEntries(diamond.jobs.map((job) => [job.name, spent(job)]));
    expect(times).toEqual({
      first: { needs: 0, slot: 100, starting: 100, running: 800 },
      left: { needs: 1_000, slot: 0, starting: 0, running: 1_000 },
      right: { needs: 1_000, slot: 900, starting: 200, running: 1_900 },
      last: { needs: 4_000, slot: 0, starting: 50, running: 950 },
    });
  });

  it("have a critical path, whose parts are the whole", () => {
    const path = criticalPath(diamond);
    expect(path.map((job) => job.name)).toEqual(["first", "right", "last"]);
    const sum = path.map(spent).reduce((total, { slot, starting, running }) => total + slot + starting + running, 0);
    expect(sum).toBe(5_000);
  });

  it("are drawn as bars, as wide as the terminal", () => {
    const text = renderTimings(diamond, 39, (_style, one) => one);
    expect(text.split("\n")).toEqual([
      "timings: 5.0 s",
      "* ✔ first █████                   0.8 s",
      "  ✔ left  ····██████              1.0 s",
      "* ✔ right ····░░▒░░██████████     1.9 s",
      "* ✖ last  ··················█████ 0.9 s",
      "  · waiting for what it needs",
      "  ░ waiting for a slot",
      "  ▒ starting",
      "  █ running",
      "* the critical path:",
      "  first → right → last",
      "  ░ 1.0 s, ▒ 0.3 s, █ 3.6 s",
    ]);
  });

  it("fit the width, whatever the jobs did, and show a job however short it was", () => {
    const job = fc.record({
      name: fc.stringMatching(/^[a-z]{1,40}$/),
      times: fc.array(fc.nat(1_000_000), { minLength: 3, maxLength: 3 }).map((times) => times.sort((a, b) => a - b)),
    });
    fc.assert(
      fc.property(
        fc.uniqueArray(job, { selector: (one) => one.name, minLength: 1 }),
        fc.integer({ min: 60, max: 200 }),
        (jobs, width) => {
          const timings = timingsOf(
            begun(Object.fromEntries(jobs.map((one) => [one.name, []]))),
            ...jobs.flatMap(({ name: one, times: [a = 0, b = 0, c = 0] }) => [
              dispatched(one, a),
              started(one, b),
              ended(one, c),
            ]),
            over(1_000_000),
          );
          const lines = renderTimings(timings, width, (_style, text) => text).split("\n");
          expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(width);
          const bars = lines.slice(1, -7).filter((line) => line.includes("✔"));
          expect(bars.every((line) => line.includes("█"))).toBe(true);
          expect(bars.length).toBe(Math.min(60, jobs.length));
        },
      ),
    );
  });

  it("do not go back where a runner's clock does", () => {
    const odd = timingsOf(begun({ a: [] }), dispatched("a", 500), started("a", 9_000), ended("a", 1_000), over(1_000));
    expect(spent(odd.jobs[0] as Timings["jobs"][number])).toEqual({ needs: 0, slot: 500, starting: 500, running: 0 });
    const early = timingsOf(begun({ a: [] }), dispatched("a", 500), started("a", 1), ended("a", 1_000), over(1_000));
    expect(spent(early.jobs[0] as Timings["jobs"][number])).toEqual({ needs: 0, slot: 500, starting: 0, running: 500 });
  });

  it("are those of the slowest, of many jobs", () => {
    const names = Array.from({ length: 100 }, (_, index) => `j${index}`);
    const many = timingsOf(
      begun(Object.fromEntries(names.map((one) => [one, []]))),
      ...names.flatMap((one, index) => [dispatched(one, 0), started(one, 0), ended(one, index * 10)]),
      over(1_000),
    );
    const text = renderTimings(many, 80, (_style, one) => one);
    expect(text).toContain("j99");
    expect(text).not.toContain("j3 ");
    expect(text).toContain("and 40 more");
  });
});

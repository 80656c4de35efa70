// `--junit FILE`: the run as JUnit XML, a testcase for each attempt of each job. Each is written when it ends, behind
// room for the head with its counts, so that memory is bounded; the file has its name when it is whole. Synchronous, so
// that it is written also where the process leaves at once.
import { closeSync, openSync, renameSync, rmSync, writeSync } from "node:fs";
import { basename } from "node:path";
import { messageOf, SortieError } from "../../protocol/errors.ts";
import { describeExit } from "../../protocol/exit.ts";
import type { JobName } from "../../protocol/ids.ts";
import type { EventReader, JobOutcome, RunEvent } from "../events.ts";
import { oneLine } from "./format.ts";
import { createTail, type Tail } from "./tail.ts";

/** For the head: the recipe's name, of at most 200 characters that may each take six, and a few numbers. */
const HEAD_BYTES = 2 * 1024;
const MOST_NAME = 200;

interface Row {
  readonly attempt: number;
  readonly tail: Tail;
}

/** What became of an attempt: a job's outcome, one that was tried again, or one whose run broke off. */
type Result = JobOutcome | "retried" | "unfinished";

/** Throws USAGE where the file cannot be made. */
export function junitReport(file: string): EventReader {
  const partial = `${file}.partial`;
  const rows = new Map<JobName, Row>();
  const waiting = new Set<JobName>();
  const counts = { tests: 0, failures: 0, errors: 0, skipped: 0 };
  let recipe = "";
  let startedAt: number | undefined;
  let endedAt = 0;
  let size = HEAD_BYTES;
  let problem: unknown;
  const descriptor = open(file, partial);

  function write(text: string, at?: number): void {
    if (problem !== undefined) return;
    try {
      const bytes = Buffer.from(text);
      for (let done = 0; done < bytes.length; )
        done += writeSync(descriptor, bytes, done, bytes.length - done, (at ?? size) + done);
      if (at === undefined) size += bytes.length;
    } catch (error) {
      problem = error;
    }
  }

  function testcase(job: JobName, result: Result, reason: string, durationMs: number): void {
    const row = rows.get(job);
    rows.delete(job);
    if (result !== "retried") waiting.delete(job);
    counts.tests++;
    const name = row && row.attempt > 1 ? `${job} (attempt ${row.attempt})` : job;
    const head = `  <testcase classname="${escapeXml(recipe)}" name="${escapeXml(name)}" time="${seconds(durationMs)}">\n`;
    write(`${head}${elementOf(result, reason)}${outputOf(row?.tail)}  </testcase>\n`);
  }

  function elementOf(result: Result, reason: string): string {
    if (result === "passed") return "";
    const message = escapeXml(oneLine(reason));
    if (result === "failed") {
      counts.failures++;
      return `    <failure type="failed" message="${message}"/>\n`;
    }
    if (result === "skipped" || result === "retried") {
      counts.skipped++;
      return `    <skipped message="${message}"/>\n`;
    }
    counts.errors++;
    return `    <error type="${result}" message="${message}"/>\n`;
  }

  /** Once. */
  function finish(): void {
    process.off("exit", finish);
    if (startedAt !== undefined) {
      for (const job of waiting) testcase(job, "unfinished", "the run broke off", 0);
      const { tests, failures, errors, skipped } = counts;
      const numbers = `tests="${tests}" failures="${failures}" errors="${errors}" skipped="${skipped}" time="${seconds(endedAt - startedAt)}"`;
      const name = escapeXml(recipe);
      const time = new Date(startedAt).toISOString().slice(0, 19);
      const head = `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ${numbers}>\n<testsuite name="${name}" timestamp="${time}" ${numbers}>`;
      write("</testsuite>\n</testsuites>\n");
      write(`${head}${" ".repeat(HEAD_BYTES - 1 - Buffer.byteLength(head))}\n`, 0);
    }
    closeSync(descriptor);
    if (problem === undefined && startedAt !== undefined) return renameSync(partial, file);
    rmSync(partial, { force: true });
    if (problem !== undefined)
      process.stderr.write(`sortie: ${file} could not be written: ${oneLine(String(problem))}\n`);
  }
  process.once("exit", finish);

  function over(event: RunEvent & { type: "job-ended" | "job-retrying" }): void {
    const reason = event.message ?? (event.exit ? describeExit(event.exit) : "lost");
    if (event.type === "job-retrying")
      return testcase(event.job, "retried", `${reason}; tried again`, event.durationMs);
    if (event.kept) return testcase(event.job, "skipped", `kept: ${reason}`, event.durationMs);
    // The run passes with it, and so does whoever reads the report.
    if (event.allowed) return testcase(event.job, "skipped", `failed, and may: ${reason}`, event.durationMs);
    testcase(event.job, event.outcome, reason, event.durationMs);
  }

  return {
    on(event) {
      endedAt = event.at;
      switch (event.type) {
        case "run-started":
        case "run-resumed":
          startedAt = event.at;
          recipe = basename(event.recipe).slice(0, MOST_NAME);
          for (const { name } of event.jobs) waiting.add(name);
          return;
        case "jobs-joined":
          for (const { name } of event.jobs) waiting.add(name);
          return;
        case "job-started":
          rows.set(event.job, { attempt: event.attempt, tail: createTail() });
          return;
        case "job-output":
          return rows.get(event.job)?.tail.push(event.stream, event.bytes);
        case "job-retrying":
        case "job-ended":
          return over(event);
        default:
          return;
      }
    },
    close: finish,
  };
}

function open(file: string, partial: string): number {
  try {
    return openSync(partial, "w");
  } catch (error) {
    const why = messageOf(error);
    throw new SortieError("USAGE", `--junit ${file} cannot be written: ${why}.`, { cause: error });
  }
}

function outputOf(tail: Tail | undefined): string {
  const lines = tail?.lines(Number.POSITIVE_INFINITY) ?? [];
  return lines.length === 0 ? "" : `    <system-out>${escapeXml(lines.join("\n"))}</system-out>\n`;
}

const seconds = (milliseconds: number): string => (Math.max(0, milliseconds) / 1000).toFixed(3);

/** For text and attributes. What XML cannot hold, however it is written, is left out. https://www.w3.org/TR/xml/#charsets */
export const escapeXml = (text: string): string =>
  text
    .replace(/[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/gu, "")
    .replace(/[&<>"'\t\r]/g, (character) => `&#${character.charCodeAt(0)};`);

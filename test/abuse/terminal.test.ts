// Text that others made (runners, jobs, peers, recipes), in every field that a person is shown, in every view and from
// the commands: none of it acts on a terminal, on a CI service, or on what parses a report.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SaxesParser } from "saxes";
import * as v from "valibot";
import { afterAll, beforeAll, describe, expect } from "vitest";
import type { EventReader, RunEvent } from "../../coordinator/events.ts";
import { createLog } from "../../coordinator/store/log.ts";
import { logPath } from "../../coordinator/store/store.ts";
import { githubView, withoutCommand } from "../../coordinator/views/github.ts";
import { gitlabView } from "../../coordinator/views/gitlab.ts";
import { jsonView } from "../../coordinator/views/json.ts";
import { junitReport } from "../../coordinator/views/junit.ts";
import { plainView } from "../../coordinator/views/plain.ts";
import { renderPlan } from "../../coordinator/views/plan.ts";
import { terminalText } from "../../coordinator/views/terminal-text.ts";
import { timingsReport } from "../../coordinator/views/timings-report.ts";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { printError } from "../../protocol/command-line.ts";
import { SortieError } from "../../protocol/errors.ts";
import type { Exit } from "../../protocol/exit.ts";
import { type AttemptId, JobName, newRunId } from "../../protocol/ids.ts";
import { LabelName, LabelValue, RunnerName } from "../../protocol/messages.ts";
import { oneLine } from "../../protocol/text.ts";
import { Rig, root } from "../rig/rig.ts";
import { sink } from "../rig/sink.ts";
import { terminal } from "../rig/terminal.ts";
import { attack } from "./attack.ts";

const ESC = "\u001b";
/** One of each: CSI, OSC (title, clipboard), DCS, APC, PM, SOS, their eight-bit forms, nested ESC, and what reorders. */
const ACTS = [
  `${ESC}[2J${ESC}[H${ESC}[8m`,
  `${ESC}]0;FORGED\u0007${ESC}]52;c;Rk9SR0VE\u0007${ESC}]8;;http://forged${ESC}\\link`,
  `${ESC}P$qm${ESC}\\${ESC}_apc${ESC}\\${ESC}^pm${ESC}\\${ESC}Xsos${ESC}\\`,
  `${ESC}${ESC}[31${ESC}[1Amx\u009b2J\u009d0;FORGED\u009c\u0090dcs\u009c`,
  "\u202eback\u2066isolate\u2069\u200eleft\u200fright\u061carabic\u2028line\u2029paragraph",
  "over\rwritten\bback\u0007bell\u000bvertical\u000cform\u0000nul\u007fdel\u0085next",
].join("|");
const COMMANDS = [
  "::add-mask::forged",
  "  ::set-env name=FORGED::yes",
  "\u0085::error::forged",
  "\u200b::warning::forged",
  "x\r::notice::forged",
  `${ESC}[31m::group::forged`,
  "a ##[add-mask]forged",
  "##[group]forged",
  `${ESC}[0Ksection_start:1:forged\r${ESC}[0Kforged`,
  `section_end:1:forged\r${ESC}[0K`,
].join("\n");
const HOSTILE = `${ACTS}\n${COMMANDS}\n</system-out>]]><x a="1">&lt;\`\`\`|**<img src=x onerror=1>`;

/** What no text that is shown may hold, newline and tab aside. */
const HARMFUL = "\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069";
const harmful = new RegExp(`[^]{0,30}[${HARMFUL}]`);
/** Of a job's own output colours stay, where there are any. */
const withoutColours = (text: string): string => text.replaceAll(new RegExp(`${ESC}\\[[0-9;:]{0,40}m`, "g"), "");
/** With what the view itself writes taken out of it. */
const expectHarmless = (text: string): void => {
  expect(harmful.exec(text)?.[0]).toBeUndefined();
};

let folder: string;
const run = newRunId();
const job = "job" as JobName;
const attemptId = "000000000000" as AttemptId;
const common = { type: "exit", bytes: { stdout: 1, stderr: 1 } } as const;
const lost = { ...common, reason: "lost", code: null, message: HOSTILE } as const satisfies Exit;
const cancelled: Exit = {
  ...common,
  reason: "cancelled",
  code: null,
  signal: null,
  by: "user",
  ending: { ended: [], survivors: [{ pid: 1, name: `${ESC}]0;FORGED\u0007` }], unknown: `${ESC}]0;FORGED\u0007` },
};
const jobs = [{ name: job, needs: [], location: { file: `/repo/${HOSTILE}.ts`, line: 1 } }];

/** One of every event, with the text in every field that is not held to an alphabet by its schema. */
const events: { readonly [Type in RunEvent["type"]]: Omit<RunEvent & { type: Type }, "type" | "at"> } = {
  "run-started": {
    run,
    recipe: HOSTILE,
    jobs,
    params: [{ key: "key", text: HOSTILE, from: "option" }] as never,
    on: { os: "linux" } as never,
  },
  "run-resumed": { run, recipe: HOSTILE, jobs },
  "jobs-joined": { by: job, jobs: [{ name: "joined" as JobName, needs: [] }] } as never,
  "runner-connected": { runner: HOSTILE, slots: 1 },
  "runner-unreachable": { runner: HOSTILE, message: HOSTILE },
  "job-waiting": { job, message: HOSTILE },
  "job-dispatched": { job, attempt: 1, attemptId, runner: HOSTILE, runnerId: HOSTILE },
  "place-dispatched": { job, place: HOSTILE, attemptId, runner: HOSTILE, runnerId: HOSTILE },
  "job-returned": { job, attemptId },
  "job-started": { job, attempt: 1, attemptId, runner: HOSTILE },
  "job-step": { job, index: 0, of: 1 },
  "job-reconnecting": { job, message: HOSTILE },
  "job-reconnected": { job },
  "job-output": { job, stream: "stdout", bytes: Buffer.from(`${HOSTILE}\n`) },
  "job-note": { job, from: HOSTILE, text: HOSTILE },
  "job-asking": { job, question: HOSTILE, refusals: 0 },
  "job-answered": { job, question: HOSTILE, by: "option" },
  "job-retrying": { job, attempt: 1, outcome: "lost", delayMs: 1, exit: lost, gap: HOSTILE, durationMs: 1 },
  "job-ended": {
    job,
    outcome: "failed",
    exit: cancelled,
    gap: HOSTILE,
    message: HOSTILE,
    output: HOSTILE,
    durationMs: 1,
  },
  warning: { message: HOSTILE },
  "run-cancelling": { message: HOSTILE },
  "run-ended": { run, outcome: "failed", durationMs: 1, message: HOSTILE },
};
const order = Object.keys(events).filter((type) => type !== "job-retrying" && type !== "job-returned");

async function tell(view: EventReader): Promise<void> {
  const told = [...order.slice(0, -3), "job-retrying", "job-dispatched", "job-started", ...order.slice(-4)];
  let at = 1_000;
  for (const type of told) await view.on({ type, at: at++, ...events[type as RunEvent["type"]] } as RunEvent);
  await view.close();
}

/** Of what comes through: the job's text was there to be shown. */
const expectShown = (text: string): void => expect(text).toContain("isolate");

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sortie-terminal-"));
  const log = createLog(logPath(folder, run, attemptId));
  await log.write(encodeChunk(STDOUT, Buffer.from(`${HOSTILE}\n`)));
  await log.write(encodeChunk(STDERR, Buffer.from(COMMANDS)));
  await log.write(encodeControl({ type: "note", at: 2, from: `${ESC}]0;x\u0007`, text: HOSTILE }));
  log.close();
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe("text that acts on a terminal, in every field of every event", () => {
  attack("the plain view is told all of it", "it is shown as text", async () => {
    const { stream, text } = sink();
    await tell(plainView(stream));
    expectShown(text());
    expectHarmless(text());
  });

  attack("the JSON view is told all of it", "one line an event, as it was, escaped", async () => {
    const { stream, text } = sink();
    await tell(jsonView(stream));
    expectHarmless(text());
    const lines = text().trimEnd().split("\n");
    const told = lines.map((line) => JSON.parse(line) as { type: string; message?: string; text?: string });
    expect(told.find(({ type }) => type === "warning")?.message).toBe(HOSTILE);
    expect(told.find(({ type }) => type === "job-output")?.text).toBe(`${HOSTILE}\n`);
  });

  attack("a report of times and a plan are made of it", "it is shown as text", async () => {
    const { stream, text } = sink();
    await tell(timingsReport(stream));
    const plan = renderPlan({
      jobs: [
        {
          name: job,
          needs: [],
          on: { labels: { os: HOSTILE } },
          steps: [{ shell: HOSTILE }, { argv: [HOSTILE] }],
          cwd: HOSTILE,
          container: { image: HOSTILE, services: [{ name: HOSTILE, image: HOSTILE }] },
          user: HOSTILE,
          stdin: { file: HOSTILE },
          secrets: [{ from: HOSTILE }],
          outputs: { [HOSTILE]: [] },
          group: { name: HOSTILE, limit: 1 },
        },
      ],
    } as never);
    expectShown(plan);
    expectHarmless(text() + plan);
    expect(
      plan
        .split("\n")
        .filter((line) => line.includes("isolate"))
        .every((line) => line.startsWith("  ")),
    ).toBe(true);
  });

  attack("a request that a runner's owner has explained, and a plan as JSON, hold it", "no line acts", async () => {
    await using rig = new Rig();
    const act = `x${ESC}[2J\u009b31m\u202ey`;
    const asked = JSON.stringify({ steps: [{ argv: [`/${act}`] }], cwd: `/${act}` });
    const explained = await rig.runner(["policy", "explain", "-"], join(rig.folder, "w1"), asked);
    expect(explained.text).toContain("denied: 2 of the 2 things");
    const path = rig.recipe(
      `import { job, recipe } from "sortie"; export default recipe({ a: job({ run: [["echo", ${JSON.stringify(act)}]] }) });`,
    );
    const planned = await rig.coordinator(["run", path, "--dry-run", "--format", "json"]);
    expect(JSON.parse(planned.text).jobs[0].steps).toEqual([{ argv: ["echo", act] }]);
    expectHarmless(explained.text + planned.text);
  });

  attack("a JUnit report is made of it", "valid XML, with its text", async () => {
    const file = join(folder, "junit.xml");
    await tell(junitReport(file));
    const xml = readFileSync(file, "utf8");
    const parser = new SaxesParser();
    const elements = new Set<string>();
    let failure: Error | undefined;
    parser.on("error", (error) => {
      failure = error;
    });
    parser.on("opentag", ({ name }) => void elements.add(name));
    parser.write(xml).close();
    expect(failure).toBeUndefined();
    expect([...elements].sort()).toEqual([
      "error",
      "failure",
      "skipped",
      "system-out",
      "testcase",
      "testsuite",
      "testsuites",
    ]);
    expectShown(xml);
    expectHarmless(xml);
  });

  attack("a job writes it, cut at every byte", "the same text, and nothing acts", async () => {
    const bytes = Buffer.from(HOSTILE);
    const whole = terminalText();
    const shown = whole.push(bytes) + whole.end();
    for (let at = 1; at < bytes.length; at++) {
      const cut = terminalText();
      expect(cut.push(bytes.subarray(0, at)) + cut.push(bytes.subarray(at)) + cut.end()).toBe(shown);
    }
    expectHarmless(withoutColours(shown));
  });

  attack("an error quotes it, with its place and its stack", "two lines of text", async () => {
    const script = `
      import { printError } from ${JSON.stringify(join(root, "protocol/command-line.ts"))};
      import { SortieError } from ${JSON.stringify(join(root, "protocol/errors.ts"))};
      const text = ${JSON.stringify(HOSTILE)};
      printError(new SortieError("DENIED", text, { hint: text, at: { file: text, line: 1 }, cause: new Error(text) }), true);`;
    void printError;
    void SortieError;
    const { spawnSync } = await import("node:child_process");
    const { stderr } = spawnSync(process.execPath, ["--input-type=module", "-e", script], { encoding: "utf8" });
    expect(stderr).toContain("error[DENIED]");
    expectHarmless(stderr);
  });

  attack("names and labels are made of it", "no such name is taken", () => {
    for (const text of [HOSTILE, "a\nb", `a${ESC}[2J`, "a\u202eb", "a\u200bb", 'a","b":"', "a\0", " a", "a\ud800"])
      for (const [name, schema] of Object.entries({ JobName, RunnerName, LabelName, LabelValue }))
        expect([name, v.is(schema, text)]).toEqual([name, false]);
    for (const text of ["../a", "", "-a", "/"])
      for (const schema of [JobName, RunnerName, LabelName]) expect(v.is(schema, text)).toBe(false);
  });

  attack("a line is cut in the middle of a character", "no half of one is left", () => {
    expect(oneLine(`${"x".repeat(999)}\u{1f600}`).isWellFormed()).toBe(true);
    expectHarmless(oneLine("\u{e0041}\u{e007f}\u2060\u206f\ufff9"));
    expect(oneLine("\u{e0041}\u206f")).toBe("··");
  });
});

describe("text that forges what a CI service acts on", () => {
  /** As the runner of GitHub Actions reads lines: see ActionCommand.cs. Gives those that it would act on. */
  function actedOn(text: string): string[] {
    let token: string | undefined;
    return text.split(/\r\n|\n|\r/).filter((line) => {
      const newer = /^[\s\u0085]*::(\S+?)(?: .*?)?::(.*)$/su.exec(line);
      const name = (newer?.[1] ?? /##\[(\S+?)(?: [^\]]*)?\]/.exec(line)?.[1])?.toLowerCase();
      if (name === undefined) return false;
      if (token !== undefined) {
        if (name === token) token = undefined;
        return false;
      }
      if (name === "stop-commands") token = newer?.[2]?.toLowerCase();
      return name !== "stop-commands";
    });
  }

  attack("the GitHub view is told all of it", "none but the view's own commands", async () => {
    const { stream, text } = sink();
    const summary = join(folder, "summary.md");
    await tell(githubView(stream, folder, { NO_COLOR: "1", GITHUB_WORKSPACE: "/repo", GITHUB_STEP_SUMMARY: summary }));
    expectShown(text());
    expectHarmless(withoutColours(text()));
    const commands = actedOn(text());
    const own = /^::(group|endgroup|warning|error)(::| file=[^:\n]*,line=1,title=job failed::)/;
    for (const command of commands) expect(command).toMatch(/^::/);
    expect(commands.filter((command) => !/^::(group|endgroup|warning|error)/.test(command))).toEqual([]);
    expect(commands.filter((command) => command.startsWith("::error")).length).toBe(2);
    expect(commands.find((command) => command.startsWith("::error"))).toMatch(own);
    expect(text()).not.toContain("##[");
    // The page: text in a fence that nothing in it ends, and a table of nothing but text.
    const page = readFileSync(summary, "utf8");
    expectHarmless(page);
    const [, fence = ""] = /^(`{3,})text$/m.exec(page) ?? [];
    expect(fence.length).toBeGreaterThan(3);
    const outside = page.replace(new RegExp(`^${fence}text$[^]*?^${fence}$`, "gm"), "");
    expect(outside).not.toMatch(/[<>[\]*\\]|http:|onerror=/);
  });

  for (const line of COMMANDS.split("\n").filter((one) => one.includes("::") || one.includes("##[")))
    attack(`a line of Sortie's own begins with ${JSON.stringify(line)}`, "no command", () => {
      for (const part of line.split("\r")) expect(actedOn(withoutCommand(part))).toEqual([]);
    });

  attack("the GitLab view is told all of it", "none but the view's own sections", async () => {
    const { stream, text } = sink();
    await tell(gitlabView(stream, folder, { NO_COLOR: "1" }));
    expectShown(text());
    const erase = `${ESC}\\[0K`;
    const own = new RegExp(`${erase}section_(start|end):\\d+:sortie_\\d+_job(\\[collapsed=true\\])?\r${erase}`, "g");
    expect([...text().matchAll(own)].length).toBe(4);
    expectHarmless(withoutColours(text().replace(own, "")));
  });
});

describe("a real terminal", () => {
  attack(
    "the live view is told all of it",
    "the terminal's title, clipboard and screen are as they were",
    async () => {
      await using rig = new Rig();
      mkdirSync(rig.home, { recursive: true });
      const told = join(rig.folder, "told.json");
      writeFileSync(
        told,
        JSON.stringify(
          order
            .filter((type) => type !== "job-asking")
            .map((type) => ({ type, at: 1, ...(events[type as never] as object) })),
        ),
      );
      const script = join(rig.folder, "live.mjs");
      writeFileSync(
        script,
        `import { readFileSync } from "node:fs";
      import { liveView } from ${JSON.stringify(join(root, "coordinator/views/live.ts"))};
      const view = await liveView(process.stdout);
      for (const event of JSON.parse(readFileSync(${JSON.stringify(told)}, "utf8"))) {
        if (event.type === "run-resumed") continue;
        if (event.bytes) event.bytes = Buffer.from(event.bytes.data);
        await view.on(event);
        if (event.type === "job-note") await new Promise((resolve) => setTimeout(resolve, 251));
      }
      await view.close();`,
      );
      using screen = terminal(rig, `node ${script}`);
      const shown = await screen.shows("code=0");
      expect(shown).toContain("run failed");
      expect(shown).toContain("isolate");
      expectHarmless(shown);
      expect(screen.title()).not.toContain("FORGED");
      expect(screen.clipboard()).not.toContain("FORGED");
    },
    60_000,
  );
});

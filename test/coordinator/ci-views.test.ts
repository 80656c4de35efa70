// The views for CI services, on recorded events and on logs that the test itself writes.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Writable } from "node:stream";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { EventReader, JobOutcome, RunEvent } from "../../coordinator/events.ts";
import { createLog } from "../../coordinator/store/log.ts";
import { logPath } from "../../coordinator/store/store.ts";
import { githubView } from "../../coordinator/views/github.ts";
import { gitlabView } from "../../coordinator/views/gitlab.ts";
import { chooseView } from "../../coordinator/views/index.ts";
import { escapeMarkdown, fenced } from "../../coordinator/views/job-summary.ts";
import { encodeChunk, encodeControl, STDERR, STDOUT } from "../../protocol/chunk.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { redactionOf } from "../../protocol/redact.ts";
import { sink } from "../rig/sink.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sortie-views-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

interface Told {
  readonly job: string;
  readonly stdout?: string | Uint8Array;
  readonly stderr?: string;
  readonly note?: string;
  readonly outcome?: JobOutcome;
  readonly message?: string;
}

const run = newRunId();
const location = { file: "/repo/recipes/ci,1:2%.ts", line: 12 };

/** Tells the view of a run whose jobs run at the same time and end in their order, and closes it. */
async function tell(view: EventReader, jobs: readonly Told[]): Promise<void> {
  const events: RunEvent[] = [
    {
      type: "run-started",
      at: 1_000,
      run,
      recipe: "ci.ts",
      jobs: jobs.map(({ job }) => ({ name: job as JobName, needs: [], location })),
    },
  ];
  const ends: RunEvent[] = [];
  for (const { job: name, stdout = "", stderr = "", note, outcome = "passed", message } of jobs) {
    const job = name as JobName;
    if (outcome !== "skipped") {
      const attemptId = newAttemptId();
      const log = createLog(logPath(folder, run, attemptId));
      await log.write(encodeChunk(STDOUT, Buffer.from(stdout as string)));
      await log.write(encodeChunk(STDERR, Buffer.from(stderr)));
      if (note) await log.write(encodeControl({ type: "note", at: 2, from: "db", text: note }));
      log.close();
      events.push({ type: "job-started", at: 2_000, job, attempt: 1, attemptId, runner: "w1" });
    }
    const why = outcome === "passed" ? {} : { message: message ?? "exit 3" };
    ends.push({ type: "job-ended", at: 5_000, job, outcome, durationMs: 3_000, ...why });
  }
  for (const event of [...events, ...ends]) await view.on(event);
  await view.on({ type: "run-ended", at: 5_000, run, outcome: "failed", durationMs: 4_000 });
  await view.close();
}

/** What the service makes of its input, as its own source reads a line: commands in order, and lines that are none. */
function readAsGithub(text: string): { commands: string[]; lines: string[] } {
  const known = ["group", "endgroup", "error", "warning", "notice", "debug", "set-output", "add-mask", "save-state"];
  const registered = new Set([...known, "add-matcher", "remove-matcher", "echo", "stop-commands"]);
  const commands: string[] = [];
  const lines: string[] = [];
  let token: string | undefined;
  // .NET ends a line at a carriage return too, and trims every white space there is.
  for (const line of text.split(/\r\n|\n|\r/)) {
    const newer = /^::(\S*?)(?: .*?)?::(.*)$/s.exec(line.trimStart().replace(/^\u0085+/, ""));
    const older = /##\[(\S*?)(?: [^\]]*)?\](.*)$/s.exec(line);
    const [, name = "", data = ""] =
      [newer, older].find((one) => one && registered.has(one[1]?.toLowerCase() ?? "")) ?? [];
    if (name === "" || (token !== undefined && name.toLowerCase() !== token)) lines.push(line);
    else if (token !== undefined) {
      registered.delete(token);
      token = undefined;
    } else if (name === "stop-commands") {
      token = data.toLowerCase();
      registered.add(token);
    } else commands.push(line);
  }
  return { commands, lines };
}

describe("a secret in the log of a job that does not have it", () => {
  it.each(["github", "gitlab"])("is *** in all that the view of %s tells", async (service) => {
    const secret = "hush-hush-hush";
    const base64 = Buffer.from(secret).toString("base64");
    const secrets = { values: new Set<string>(), redaction: redactionOf([secret]) };
    const { stream, text } = sink();
    const summary = join(folder, "summary.md");
    const view =
      service === "gitlab"
        ? gitlabView(stream, folder, { NO_COLOR: "1" }, secrets)
        : githubView(stream, folder, { NO_COLOR: "1", GITHUB_STEP_SUMMARY: summary }, secrets);
    const told = { stdout: `a ${secret}\nends with hush-hu`, stderr: `${base64}\n`, note: `it is ${secret}\n` };
    await tell(view, [{ job: "other", outcome: "failed", ...told }]);
    const page = service === "github" ? readFileSync(summary, "utf8") : "a ***";
    for (const shown of [text(), page]) {
      expect(shown).toContain("a ***");
      expect(shown).not.toMatch(new RegExp(`${secret}|${base64.slice(0, 12)}`));
    }
    expect(text()).toContain("[db] it is ***\n");
    expect(text()).toContain("ends with hush-hu\n");
  });
});

describe("the GitHub view of a run with secrets", () => {
  it("has each line of each masked before any output, and those of jobs that join the run before theirs", async () => {
    const { stream, text } = sink();
    const secrets = new Set(["line-one\n{\nline-two%\n}\n", "line-one"]);
    const view = githubView(stream, folder, { NO_COLOR: "1" }, { values: secrets, redaction: undefined });
    expect(readAsGithub(text()).commands).toEqual(["::add-mask::line-one", "::add-mask::line-two%25"]);
    secrets.add("three");
    await tell(view, [{ job: "good", stdout: "three\n" }]);
    expect(readAsGithub(text()).commands.slice(2)).toEqual([
      "::add-mask::three",
      "::group::✔ good: passed (3.0 s)",
      "::endgroup::",
    ]);
  });
});

describe("the GitHub view", () => {
  const environment = (): { GITHUB_WORKSPACE: string; GITHUB_STEP_SUMMARY: string; NO_COLOR: string } => ({
    GITHUB_WORKSPACE: "/repo",
    GITHUB_STEP_SUMMARY: join(folder, "summary.md"),
    NO_COLOR: "1",
  });

  it("shows each job's output whole, in a group of its own, and points at the line of one that failed", async () => {
    const { stream, text } = sink();
    await tell(githubView(stream, folder, environment()), [
      { job: "good", stdout: "one\ntwo", stderr: "three\n", note: "up\n" },
      { job: "bad", stdout: "why\n", outcome: "failed", message: "100%\nwrong, it: said" },
      { job: "after", outcome: "skipped", message: "bad failed" },
    ]);
    const { commands, lines } = readAsGithub(text());
    expect(commands).toEqual([
      "::group::✔ good: passed (3.0 s)",
      "::endgroup::",
      "::group::✖ bad: failed, 100%25 wrong, it: said (3.0 s)",
      "::endgroup::",
      "::error file=recipes/ci%2C1%3A2%25.ts,line=12,title=bad failed::100%25 wrong, it: said",
    ]);
    const group = text().slice(text().indexOf("good: passed"), text().indexOf("::endgroup::"));
    expect(group.split("\n").slice(2, -2)).toEqual(["one", "three", "[db] up", "two"]);
    expect(lines).toContain("- after: skipped, bad failed (0.0 s)".replace("0.0", "3.0"));
    expect(lines).toContain("run failed: 1 passed, 1 failed, 1 skipped in 4.0 s");
  });

  it("takes no command from a job, whatever that writes", async () => {
    const unit = fc.constantFrom(
      ...[
        "::",
        ":",
        "error",
        "stop-commands",
        "group",
        "endgroup",
        " ",
        "\t",
        "\r",
        "\n",
        "\u00a0",
        "\u0085",
        "\u2028",
      ],
      ...["##[", "#", "##", "[", "]", "\u001b[31m", "\u001b[0m", "\u001b", "\u0000", "x"],
    );
    await fc.assert(
      fc.asyncProperty(fc.string({ unit, maxLength: 30 }), async (written) => {
        const { stream, text } = sink();
        await tell(githubView(stream, folder, { ...environment(), GITHUB_STEP_SUMMARY: "" }), [
          { job: "a", stdout: written, stderr: `::error::x\n${written}`, note: written },
        ]);
        expect(readAsGithub(text()).commands).toEqual(["::group::✔ a: passed (3.0 s)", "::endgroup::"]);
        expect(text()).not.toContain("##[");
      }),
      { numRuns: 300 },
    );
  });

  it("finds that its reader of commands finds them", () => {
    const { commands } = readAsGithub(
      "a\n \t::error::x\n##[error]y\nz ##[group]\n::stop-commands::T\n::error::no\n::T::\n::debug::d",
    );
    expect(commands).toEqual([" \t::error::x", "##[error]y", "z ##[group]", "::debug::d"]);
  });

  it("uses another token for each group", async () => {
    const { stream, text } = sink();
    await tell(githubView(stream, folder, environment()), [{ job: "a" }, { job: "b" }]);
    const tokens = [...text().matchAll(/^::stop-commands::(.*)$/gm)].map(([, token]) => token);
    expect(tokens[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(new Set(tokens).size).toBe(2);
  });

  it("writes a summary in Markdown that nobody's text is markup in", async () => {
    const { stream } = sink();
    writeFileSync(environment().GITHUB_STEP_SUMMARY, "of the step before\n");
    await tell(githubView(stream, folder, environment()), [
      { job: "good" },
      { job: "bad", stdout: "````\n<img src=x>\n", outcome: "failed", message: "a | b <b> @someone [x](y)" },
    ]);
    const summary = readFileSync(environment().GITHUB_STEP_SUMMARY, "utf8");
    expect(summary).toContain("of the step before\n## Run");
    expect(summary).toContain("| good | ✔ passed | 3.0 s |  |\n");
    expect(summary).toContain(
      "| bad | ✖ failed | 3.0 s | a &#124; b &#60;b&#62; &#64;someone &#91;x&#93;&#40;y&#41; |\n",
    );
    expect(summary).toContain("\n### bad\n\n`````text\n````\n<img src=x>\n`````\n");
    expect(escapeMarkdown("a_b*`c`")).toBe("a&#95;b&#42;&#96;c&#96;");
    expect(fenced("x")).toBe("```text\nx\n```\n");
  });

  it("keeps its summary below what the service takes", async () => {
    const { stream } = sink();
    const flood = `${"€".repeat(1_000)}\n`.repeat(5);
    const jobs = Array.from({ length: 80 }, (_, index) => ({
      job: `j${index}`,
      stdout: flood,
      outcome: "failed" as const,
    }));
    await tell(githubView(stream, folder, environment()), jobs);
    const summary = readFileSync(environment().GITHUB_STEP_SUMMARY);
    expect(summary.length).toBeLessThan(1024 * 1024);
    expect(summary.toString()).toMatch(/more parts did not fit/);
  });

  it("goes on where the summary cannot be written, and says so", async () => {
    const { stream, text } = sink();
    await tell(githubView(stream, folder, { ...environment(), GITHUB_STEP_SUMMARY: folder }), [{ job: "a" }]);
    expect(text()).toMatch(/::warning::The summary could not be written: EISDIR/);
  });

  it("does not hold the run up, however slowly it is read, and has every line at the end", async () => {
    let release = (): void => {};
    let text = "";
    const stream = new Writable({
      highWaterMark: 10,
      write(bytes, _encoding, done) {
        text += bytes;
        release = () => {
          release = () => {};
          done();
        };
      },
    }) as unknown as NodeJS.WriteStream;
    const view = githubView(stream, folder, environment());
    const lines = Array.from({ length: 20_000 }, (_, index) => `line ${index}`);
    const told = tell(view, [{ job: "a", stdout: `${lines.join("\n")}\n` }]);
    const letGo = setInterval(() => release(), 1);
    await told.finally(() => clearInterval(letGo));
    expect(text.split("\n").filter((line) => line.startsWith("line "))).toEqual(lines);
  });

  it("waits for nothing while events come", () => {
    const stream = new Writable({ highWaterMark: 1, write() {} }) as unknown as NodeJS.WriteStream;
    const view = githubView(stream, folder, environment());
    expect(view.on({ type: "run-started", at: 1, run, recipe: "r", jobs: [] })).toBeUndefined();
    expect(view.on({ type: "runner-connected", at: 1, runner: "w1", slots: 1 })).toBeUndefined();
    expect(view.on({ type: "run-ended", at: 1, run, outcome: "passed", durationMs: 1 })).toBeUndefined();
  });
});

describe("the GitLab view", () => {
  it("shows each job as a section, folded where it passed", async () => {
    const { stream, text } = sink();
    await tell(gitlabView(stream, folder, { NO_COLOR: "1" }), [
      { job: "a:b[1]", stdout: "out\n" },
      { job: "bad", outcome: "failed" },
    ]);
    expect(text()).toContain(
      "\u001b[0Ksection_start:2:sortie_1_a_b_1_[collapsed=true]\r\u001b[0K✔ a:b[1]: passed (3.0 s)\nout\n\u001b[0Ksection_end:5:sortie_1_a_b_1_\r\u001b[0K\n",
    );
    expect(text()).toContain("\u001b[0Ksection_start:2:sortie_2_bad\r\u001b[0K✖ bad: failed, exit 3 (3.0 s)\n");
  });

  it("has colours, and takes no mark from a job", async () => {
    const { stream, text } = sink();
    const mark = "\u001b[0Ksection_end:5:sortie_1_a\r\u001b[0K";
    await tell(gitlabView(stream, folder, {}), [
      { job: "a", stdout: `${mark}\n x${mark}y\n\u001b[31mred\u001b[0m\n`, stderr: mark, note: mark },
    ]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what the service looks for.
    expect(text().match(/section_(start|end):\d+:[\w.-]+(\[[^\]]*\])?\r\u001b\[0K/g)).toHaveLength(2);
    expect(text().match(/\r/g)).toHaveLength(2);
    expect(text()).toContain("\u001b[31mred");
    expect(text()).toContain("\u001b[32m✔ a: passed");
  });

  it("tells of an attempt that the next one replaced", async () => {
    const { stream, text } = sink();
    const view = gitlabView(stream, folder, { NO_COLOR: "1" });
    const job = "a" as JobName;
    await view.on({ type: "run-started", at: 0, run, recipe: "r", jobs: [{ name: job, needs: [] }] });
    for (const attempt of [1, 2])
      await view.on({
        type: "job-started",
        at: attempt * 1_000,
        job,
        attempt,
        attemptId: newAttemptId(),
        runner: "w1",
      });
    await view.on({ type: "job-ended", at: 3_000, job, outcome: "passed", durationMs: 1_000 });
    await view.close();
    expect(text()).toContain("↻ a: lost; tried again (1.0 s)");
    expect(text()).toContain("✔ a (attempt 2): passed (1.0 s)");
  });
});

describe("the view that nobody named", () => {
  it("is that of the service in which the command runs", async () => {
    for (const [variable, mark] of [
      ["GITHUB_ACTIONS", "::group::"],
      ["GITLAB_CI", "section_start:"],
    ] as const) {
      process.env[variable] = "true";
      try {
        const { stream, text } = sink();
        await tell(await chooseView("auto", stream, folder), [{ job: "a" }]);
        expect(text()).toContain(mark);
        const plain = sink();
        await tell(await chooseView("plain", plain.stream, folder), [{ job: "a" }]);
        expect(plain.text()).not.toContain(mark);
      } finally {
        delete process.env[variable];
      }
    }
  });
});

import { execFileSync } from "node:child_process";
import { randomUUID } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { Writable } from "node:stream";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RunEvent } from "../../coordinator/events.ts";
import { safeLine } from "../../coordinator/views/format.ts";
import { chooseView } from "../../coordinator/views/index.ts";
import { jsonView } from "../../coordinator/views/json.ts";
import { liveView } from "../../coordinator/views/live.ts";
import { plainView } from "../../coordinator/views/plain.ts";
import { createTail } from "../../coordinator/views/tail.ts";
import { terminalText } from "../../coordinator/views/terminal-text.ts";
import type { AttemptId, JobName, RunId } from "../../protocol/ids.ts";
import { oneLine } from "../../protocol/text.ts";
import { Rig, root, secondPress, until } from "../rig/rig.ts";
import { sink } from "../rig/sink.ts";

const started = (job: string): RunEvent => ({
  type: "job-started",
  at: 1,
  job: job as JobName,
  attempt: 1,
  attemptId: "000000000000" as AttemptId,
  runner: "w1",
});
const output = (job: string, stream: "stdout" | "stderr", text: string | Uint8Array): RunEvent => ({
  type: "job-output",
  at: 1,
  job: job as JobName,
  stream,
  bytes: Buffer.from(text as string),
});
const ended = (job: string): RunEvent => ({
  type: "job-ended",
  at: 1,
  job: job as JobName,
  outcome: "passed",
  durationMs: 1,
});

const note = (job: string, from: string, text: string): RunEvent => ({
  type: "job-note",
  at: 1,
  job: job as JobName,
  from,
  text,
});

describe("the plain view", () => {
  it("shows each line of each job once, whole, in order, behind its job's name", async () => {
    const line = fc.string({ unit: fc.constantFrom("x", "y", " ", "é"), maxLength: 10 });
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.tuple(
            fc.constantFrom("a", "bb"),
            fc.constantFrom<"stdout" | "stderr">("stdout", "stderr"),
            line,
            fc.boolean(),
          ),
          { maxLength: 30 },
        ),
        async (writes) => {
          const { stream, text } = sink();
          const view = plainView(stream);
          await view.on({
            type: "run-started",
            at: 1,
            run: "r" as RunId,
            recipe: "r",
            jobs: [
              { name: "a" as JobName, needs: [] },
              { name: "bb" as JobName, needs: [] },
            ],
          });
          for (const job of ["a", "bb"]) await view.on(started(job));
          const expected: Record<string, Record<string, string>> = {
            a: { stdout: "", stderr: "" },
            bb: { stdout: "", stderr: "" },
          };
          for (const [job, name, content, breaks] of writes) {
            const bytes = content + (breaks ? "\n" : "");
            (expected[job] as Record<string, string>)[name] += bytes;
            // Cut in the middle of a character, too.
            for (const byte of Buffer.from(bytes)) await view.on(output(job, name, Uint8Array.of(byte)));
          }
          for (const job of ["a", "bb"]) await view.on(ended(job));
          for (const job of ["a", "bb"]) {
            const shown = text()
              .split("\n")
              .filter((one) => one.startsWith(`${job.padEnd(2)} │ `))
              .map((one) => one.slice(5))
              .filter((one) => !/^(started on|✔)/.test(one));
            const wanted = Object.values(expected[job] ?? {}).flatMap((all) =>
              all.split("\n").filter((one, index, list) => one !== "" || index < list.length - 1),
            );
            expect(shown.sort()).toEqual(wanted.sort());
          }
        },
      ),
      { numRuns: 100 },
    );
  });

  it("cuts an endless line instead of keeping it", async () => {
    const { stream, text } = sink();
    const view = plainView(stream);
    await view.on(started("a"));
    for (let index = 0; index < 100; index++) await view.on(output("a", "stdout", "x".repeat(10_000)));
    await view.on(ended("a"));
    expect(
      text()
        .split("\n")
        .filter((line) => line.includes("x"))
        .every((line) => line.length < 17_000),
    ).toBe(true);
    expect(text().match(/x/g)?.length).toBe(1_000_000);
  });

  it("shows what is left of a line when its attempt is lost, and when the run breaks off", async () => {
    const { stream, text } = sink();
    const view = plainView(stream);
    await view.on(started("a"));
    await view.on(output("a", "stdout", "half"));
    await view.on(started("a"));
    await view.on(output("a", "stderr", "quarter"));
    await view.close();
    expect(text().replaceAll("│ ", "").split("\n")).toEqual([
      "a started on w1",
      "a half",
      "a started on w1",
      "a quarter",
      "",
    ]);
  });

  it("shows notes as whole lines, that cannot act on a terminal, also of a job that has not started", async () => {
    const { stream, text } = sink();
    const view = plainView(stream);
    await view.on(note("a", "engine", "pulling"));
    await view.on(started("a"));
    await view.on(output("a", "stdout", "half"));
    await view.on(note("a", "d\u001b[2Jb", "1\u001b]0;x\u0007\r\n\n50%\r100%\n"));
    await view.on(output("a", "stdout", " line\n"));
    expect(text().split("\n")).toEqual([
      ...["a │ [engine] pulling", "a │ started on w1", "a │ [d·[2Jb] 1", "a │ [d·[2Jb] ", "a │ [d·[2Jb] 100%"],
      ...["a │ half line", ""],
    ]);
  });

  it("is chosen where nothing can be drawn twice", async () => {
    const { stream, text } = sink();
    const view = await chooseView("live", stream);
    await view.on(started("a"));
    expect(text()).toContain("started on w1");
  });

  it("waits for a stream that is full", async () => {
    let release = (): void => {};
    const stream = new Writable({ highWaterMark: 10, write: (_bytes, _encoding, done) => void (release = done) });
    const view = plainView(stream as unknown as NodeJS.WriteStream);
    const wait = view.on(started("a"));
    let waited = false;
    void wait?.then(() => {
      waited = true;
    });
    await new Promise((resolve) => setImmediate(resolve));
    expect(waited).toBe(false);
    release();
    await wait;
  });
});

describe("the JSON view", () => {
  it("gives text where the bytes are UTF-8, and base64 where not: nothing is changed", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.uint8Array(),
          fc.string().map((text) => Buffer.from(text)),
        ),
        async (bytes) => {
          const { stream, text } = sink();
          await jsonView(stream).on(output("a", "stderr", bytes));
          const event = JSON.parse(text()) as { text?: string; base64?: string };
          expect(Buffer.from(event.text ?? "").equals(bytes) || event.base64 !== undefined).toBe(true);
          expect(Buffer.from(event.text ?? event.base64 ?? "", event.text === undefined ? "base64" : "utf8")).toEqual(
            Buffer.from(bytes),
          );
        },
      ),
    );
  });
});

describe("the end of a job's output", () => {
  it("is the last lines, however they were cut, and in little memory", () => {
    const lines = Array.from({ length: 5_000 }, (_, index) => `line ${index} é`);
    const bytes = Buffer.from(`${lines.join("\n")}\n`);
    for (const size of [1, 7, 1_000, 100_000]) {
      const tail = createTail();
      for (let at = 0; at < bytes.length; at += size) tail.push("stdout", bytes.subarray(at, at + size));
      expect(tail.lines(20)).toEqual(lines.slice(-20));
    }
  });

  it("has both outputs, and a line that has not ended", () => {
    const tail = createTail();
    tail.push("stdout", Buffer.from("out\nhal"));
    tail.push("stderr", Buffer.from("err\n"));
    tail.push("stdout", Buffer.from("f\u001b[2J"));
    expect(tail.lines(20)).toEqual(["out", "err", "half"]);
    tail.push("stdout", Buffer.alloc(100_000, "x"));
    expect(tail.lines(20).join("").length).toBeLessThan(20_000);
  });
});

describe("text of others", () => {
  it("is the same in a terminal however it was cut, but for what would act on it", () => {
    const unit = fc.constantFrom(
      "a",
      "é",
      "\u{1f600}",
      "\n",
      "\r",
      "\u001b",
      "[",
      "3",
      "1",
      "m",
      ";",
      "J",
      "\u0007",
      "\u202e",
      "\0",
    );
    fc.assert(
      fc.property(fc.string({ unit, maxLength: 40 }), fc.array(fc.nat(120), { maxLength: 6 }), (text, cuts) => {
        const bytes = Buffer.from(text);
        const whole = terminalText();
        const expected = whole.push(bytes) + whole.end();
        const pieces = terminalText();
        const places = [0, ...cuts.map((cut) => Math.min(cut, bytes.length)), bytes.length].sort((a, b) => a - b);
        let shown = "";
        for (let index = 1; index < places.length; index++)
          shown += pieces.push(bytes.subarray(places[index - 1], places[index]));
        expect(shown + pieces.end()).toBe(expected);
        // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
        expect(expected.replace(/\u001b\[[0-9;:]*m/g, "")).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u202e]/);
      }),
      { numRuns: 500 },
    );
  });

  const nasty = [
    "\u001b[2J",
    "\u001b]52;c;eA==\u0007",
    "\u001bPq\u001b\\",
    "\u001b_x\u001b\\",
    "\u009b31m",
    "\u001b\u001b[A",
    "\u202eabc",
    "a\rb\u0008",
    "\0",
  ];
  it("cannot act on a terminal, in names nor in lines", () => {
    for (const text of nasty) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
      const harmful = /[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/;
      expect(oneLine(text)).not.toMatch(harmful);
      expect(safeLine(text, false)).not.toMatch(harmful);
      // biome-ignore lint/suspicious/noControlCharactersInRegex: likewise.
      expect(safeLine(text, true).replace(/\u001b\[[0-9;:]*m/g, "")).not.toMatch(harmful);
    }
  });

  it("keeps its colours where they are wanted", () => {
    expect(safeLine("\u001b[31mred\u001b[0m", true)).toContain("\u001b[31mred");
    expect(safeLine("\u001b[31mred\u001b[0m", false)).toBe("red");
    expect(safeLine("10%\r50%\r100%", false)).toBe("100%");
  });
});

/** The first screen that has all of this: one that is looked at while it is drawn anew may lack a part. */
async function shown(screen: () => string, all: RegExp): Promise<string> {
  const text = await until(screen, (one) => all.test(one));
  expect(text).toMatch(all);
  return text;
}

/** For scripts: waits for a key, also for one that is pressed before anybody waits for it. */
const KEYS = `process.stdin.setRawMode(true);
      const keys = process.stdin[Symbol.asyncIterator]();
      const key = () => keys.next();`;

// A screen that never comes, and then a rig that waits for what is left of its run, take half a minute each: the first is to be told.
describe("the live view", { timeout: 120_000 }, () => {
  it("tells warnings, and what was kept, with its last words", async () => {
    const { stream, text } = sink();
    const view = await liveView(stream);
    await view.on({ type: "warning", at: 1, message: "hooks.example could not be told\u001b[2J" });
    await view.on({ ...ended("a"), kept: "run0" as RunId, message: "passed in the run run0" } as RunEvent);
    await view.on({ type: "run-ended", at: 1, run: "run1" as RunId, outcome: "passed", durationMs: 1 });
    expect(text().split("\n").slice(0, 2)).toEqual([
      "warning: hooks.example could not be told·[2J",
      "run passed: 1 kept in 0.0 s",
    ]);
  });

  it("shows the jobs that run in a real terminal, then what failed with its last lines, and gives the terminal back", async () => {
    await using rig = new Rig();
    const gate = join(rig.folder, "gate");
    execFileSync("mkfifo", [gate]);
    const path = rig.recipe(`import { job, recipe } from "sortie";
      const slow = job({ env: { GATE: ${JSON.stringify(gate)} }, run: "echo working on it; read x < $GATE; echo the reason; exit 3" });
      export default recipe({ slow, after: job({ needs: [slow], run: "true" }) });`);
    const socket = `sortie-${randomUUID()}`;
    const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
    const command = `env -u CI SORTIE_HOME=${rig.home} ${process.execPath} ${root}/dist/coordinator.js run ${path}; echo "code=$?"`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "sh", "-c", `${command}; read end`);
    try {
      const screen = (): string => tmux("capture-pane", "-p");
      await shown(screen, /run \w+: 1 running, 1 waiting.*slow [\d.]+ s on local │ working on it/s);
      writeFileSync(gate, "go\n");
      const over = await shown(screen, /^code=\d/m);
      expect(over).toContain("✖ slow: exit 3");
      expect(over).toContain("│ the reason");
      expect(over).toContain("1 failed, 1 skipped");
      expect(over).toContain("code=1");
      expect(tmux("display-message", "-p", "#{cursor_flag}").trim()).toBe("1");
    } finally {
      tmux("kill-server");
    }
  });

  it("shows a job's last note until it says something itself, and with its failure if it never did", async () => {
    await using rig = new Rig();
    const script = join(rig.folder, "live.mjs");
    const event = (one: RunEvent): string => `await view.on(${JSON.stringify(one)});`;
    const failed = { ...ended("mute"), outcome: "failed", message: "a service did not come up" } as RunEvent;
    const jobs = [{ name: "talk" as JobName, needs: [] }];
    writeFileSync(
      script,
      `import { liveView } from ${JSON.stringify(join(root, "coordinator/views/live.ts"))};
      // What is typed is not echoed into the view.
      ${KEYS}
      const view = await liveView(process.stdout);
      ${event({ type: "run-started", at: 1, run: "r" as RunId, recipe: "r", jobs })}
      ${event(started("talk"))}
      ${event(started("mute"))}
      ${event(note("talk", "engine", "pulling\nlayer 2\u001b[2J of 3\n"))}
      ${event(note("mute", "db", "out of luck"))}
      await key();
      await view.on({ ...${JSON.stringify(output("talk", "stdout", ""))}, bytes: Buffer.from("my own word") });
      ${event(note("talk", "db", "unseen"))}
      await key();
      ${event(failed)}
      ${event({ type: "run-ended", at: 2, run: "r" as RunId, outcome: "failed", durationMs: 1 })}
      await view.close();
      process.exit(0);`,
    );
    const socket = `sortie-${randomUUID()}`;
    const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
    const screen = (): string => tmux("capture-pane", "-p");
    const command = `${process.execPath} ${script}; echo "code=$?"; read end`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "sh", "-c", command);
    try {
      await shown(screen, /talk .* on w1 │ \[engine\] layer 2 of 3\n.*│ \[db\] out of luck/);
      tmux("send-keys", "Enter");
      const second = await shown(screen, /my own word/);
      expect(second).not.toContain("unseen");
      tmux("send-keys", "Enter");
      const over = await shown(screen, /^code=\d/m);
      expect(over).toMatch(/✖ mute: a service did not come up\n {2}│ \[db\] out of luck\n/);
      expect(over).toContain("code=0");
    } finally {
      tmux("kill-server");
    }
  });

  it("stays readable with 200 jobs, when the terminal is resized too, and tells the end of those that failed in full", async () => {
    await using rig = new Rig();
    const script = join(rig.folder, "many.mjs");
    const names = Array.from({ length: 200 }, (_, index) => `job-${index}`);
    const reason = `${"a reason that is longer than the terminal is wide ".repeat(3)}!`;
    const why = `${Array.from({ length: 40 }, (_, index) => `detail ${index}`).join("\n")}\n${reason}\n`;
    writeFileSync(
      script,
      `import { liveView } from ${JSON.stringify(join(root, "coordinator/views/live.ts"))};
      ${KEYS}
      const view = await liveView(process.stdout);
      const names = ${JSON.stringify(names)};
      const tell = (type, job, rest) => view.on({ type, at: Date.now(), job, ...rest });
      await view.on({ type: "run-started", at: 1, run: "r", recipe: "r", jobs: names.map((name) => ({ name, needs: [] })) });
      for (const name of names.slice(0, 150)) {
        await tell("job-started", name, { attempt: 1, attemptId: "000000000000", runner: "w1" });
        await tell("job-output", name, { stream: "stdout", bytes: Buffer.from("x".repeat(500) + "\\n") });
      }
      for (const name of names.slice(0, 20)) await tell("job-ended", name, { outcome: "passed", durationMs: 1 });
      await tell("job-output", names[20], { stream: "stdout", bytes: Buffer.from(${JSON.stringify(why)}) });
      await tell("job-ended", names[20], { outcome: "failed", message: "exit 3", durationMs: 1 });
      await key();
      for (const name of names.slice(21, 150)) await tell("job-ended", name, { outcome: "passed", durationMs: 1 });
      await key();
      await view.on({ type: "run-ended", at: 2, run: "r", outcome: "failed", durationMs: 1 });
      await view.close();
      process.exit(0);`,
    );
    const socket = `sortie-${randomUUID()}`;
    const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
    const screen = (): string => tmux("capture-pane", "-p");
    const title = "run r: 20 passed, 1 failed, 129 running, 50 waiting";
    const isWhole =
      (height: number, width: number) =>
      (text: string): boolean => {
        const lines = text.trimEnd().split("\n");
        const rows = lines.filter((line) => /^ +job-\d+ .* on w1 │ x+/.test(line));
        const more = Number(/and (\d+) more running/.exec(text)?.[1]);
        return (
          text.split(title).length === 2 &&
          text.includes("✖ job-20 exit 3") &&
          !text.includes("✔") &&
          rows.length + more === 129 &&
          rows.length >= height - 8 &&
          lines.length <= height &&
          lines.every((line) => line.length <= width)
        );
      };
    const command = `${process.execPath} ${script}; echo "code=$?"; read end`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "20", "sh", "-c", command);
    try {
      for (const [height, width] of [
        [20, 100],
        [14, 60],
        [24, 120],
      ] as const) {
        tmux("resize-window", "-x", String(width), "-y", String(height));
        expect(await until(screen, isWhole(height, width))).toSatisfy(isWhole(height, width));
      }
      tmux("send-keys", "Enter");
      await shown(screen, /149 passed, 1 failed, 0 running, 50 waiting.*✖ job-20 exit 3/s);
      tmux("send-keys", "Enter");
      await shown(screen, /^code=0/m);
      // Lines that the terminal wrapped are one again.
      const all = tmux("capture-pane", "-p", "-J", "-S", "-");
      const told = all.slice(all.lastIndexOf("✖ job-20: exit 3")).split("\n");
      expect(told.slice(2, 43).map((line) => line.trimEnd())).toEqual([
        ...Array.from({ length: 40 }, (_, index) => `  │ detail ${index}`),
        `  │ ${reason}`,
      ]);
      expect(told[43]).toContain("run failed: 149 passed, 1 failed");
    } finally {
      tmux("kill-server");
    }
  });

  it("gives the terminal back when Ctrl-C comes twice", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, recipe } from "sortie";
      export default recipe({ deaf: job({ grace: "10m", run: "trap '' TERM; echo up; sleep 5856" }) });`);
    const socket = `sortie-${randomUUID()}`;
    const tmux = (...args: string[]): string => execFileSync("tmux", ["-L", socket, ...args], { encoding: "utf8" });
    const screen = (): string => tmux("capture-pane", "-p");
    const command = `env -u CI SORTIE_HOME=${rig.home} ${process.execPath} ${root}/dist/coordinator.js run ${path}`;
    tmux("-f", "/dev/null", "new-session", "-d", "-x", "100", "-y", "30", "sh");
    try {
      tmux("send-keys", `${command}; echo "code=$?"`, "Enter");
      await shown(screen, /│ up/);
      tmux("send-keys", "C-c");
      await shown(screen, /cancelling/);
      await secondPress();
      tmux("send-keys", "C-c");
      const over = await shown(screen, /^code=\d/m);
      expect(over).toMatch(/^code=130$/m);
      expect(tmux("display-message", "-p", "#{cursor_flag}").trim()).toBe("1");
    } finally {
      tmux("kill-server");
    }
  });
});

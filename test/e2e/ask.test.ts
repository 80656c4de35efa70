// Jobs that ask: in a real terminal, where there is none, and with answers given beforehand.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, until } from "../rig/rig.ts";
import { terminal } from "../rig/terminal.ts";

const SECRET = "x7-answer-y9";

const release = `import { job, recipe } from "sortie";
  import * as v from "valibot";
  const ready = job({ run: "echo ready" });
  const release = job({
    needs: [ready],
    async run({ ask, $ }) {
      const typed = await ask("Type the version", { schema: v.literal("${SECRET}") });
      await $\`echo \${typed.length} characters\`;
    },
  });
  export default recipe({ ready, release });`;

/** Everything that the coordinator keeps: its database, with what is not yet in its main file, and its logs. */
const kept = (folder: string): string =>
  readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => readFileSync(join(parentPath, name), "latin1"))
    .join("\n");

describe("a job that asks", () => {
  it.each(["plain", "live"])("is answered in a terminal, and asks again what does not fit: %s", async (format) => {
    await using rig = new Rig();
    const path = rig.recipe(release);
    using window = terminal(rig, `node dist/coordinator.js run ${path} --format ${format}`);
    await window.shows(/\? (release: )?Type the version/);
    window.type("wrong");
    window.press("Enter");
    const again = await window.shows(
      /Expected "x7-answer-y9" but received "wrong"[\s\S]*\? (release: )?Type the version/,
    );
    expect(again).not.toContain("code=");
    window.type(SECRET);
    window.press("Enter");
    const screen = await window.shows("code=");
    expect(screen).toContain("run passed: 2 passed");
    expect(screen).toContain("code=0");
    const logs = await rig.coordinator(["logs", "last/release"]);
    expect(logs.text).toBe("12 characters\n");
    const everything = kept(rig.home);
    expect(everything).toContain("Type the version");
    expect(everything).not.toContain(SECRET);
    expect(everything).not.toContain("wrong");
  });

  it("asks three times, and then has failed", async () => {
    await using rig = new Rig();
    using window = terminal(rig, `node dist/coordinator.js run ${rig.recipe(release)} --format plain`);
    for (const [index, word] of ["one", "two", "three"].entries()) {
      await window.shows(new RegExp(`(\\? Type the version\\n[\\s\\S]*){${index + 1}}`));
      window.type(word);
      window.press("Enter");
      await window.shows(`received "${word}"`);
    }
    const screen = await window.shows("code=1");
    expect(screen).toContain('No answer to "Type the version" was what release takes.');
    expect(screen.match(/\? Type the version/g)).toHaveLength(3);
  });

  it("gives the terminal back to the live view, which goes on, and waits its turn behind another job that asks", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, recipe } from "sortie";
      const asks = (question: string) => job({ run: async ({ ask, log }) => void log(\`\${question} \${await ask(question)}\`) });
      const long = job({ run: "echo up; while ! [ -e ${join(rig.folder, "enough")} ]; do sleep 0.1; done" });
      export default recipe({ long, first: asks("left or right?"), second: asks("up or down?") });`);
    using window = terminal(rig, `node dist/coordinator.js run ${path} -j 3`);
    const one = await window.shows(/: (left or right|up or down)\? ›/);
    const isLeft = one.includes("left or right?");
    expect(one.includes("up or down?")).toBe(!isLeft);
    window.type("this one");
    window.press("Enter");
    await window.shows(isLeft ? "up or down? ›" : "left or right? ›");
    window.type("that one");
    window.press("Enter");
    // The tree is back: it is drawn by nobody else, its first line before the others.
    await window.shows(/run \w+: 2 passed, 1 running[\s\S]*long/);
    execFileSync("touch", [join(rig.folder, "enough")]);
    const end = await window.shows("code=0");
    expect(end).toContain("run passed: 3 passed");
    const [left, right] = await Promise.all(
      ["first", "second"].map(async (name) => (await rig.coordinator(["logs", `last/${name}`])).text),
    );
    expect([left, right]).toEqual(
      isLeft
        ? ["left or right? this one\n", "up or down? that one\n"]
        : ["left or right? that one\n", "up or down? this one\n"],
    );
  });

  it("does not take what was typed before it asked", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, recipe } from "sortie";
      const before = job({ run: "echo typing; while ! [ -e ${join(rig.folder, "typed")} ]; do sleep 0.1; done" });
      const asks = job({ needs: [before], run: async ({ ask, log }) => void log("answer", await ask("Really?")) });
      export default recipe({ before, asks });`);
    using window = terminal(rig, `node dist/coordinator.js run ${path} --format plain`);
    await window.shows("│ typing");
    window.type("early");
    window.press("Enter");
    await window.shows(/^early$/m);
    execFileSync("touch", [join(rig.folder, "typed")]);
    await window.shows("? Really?");
    window.type("late");
    window.press("Enter");
    const screen = await window.shows("code=0");
    expect(screen).toContain("│ answer late");
    expect(screen).not.toContain("answer early");
  });

  it.each(["plain", "live"])("is cancelled by Ctrl-C, and fails where the terminal is closed: %s", async (format) => {
    await using rig = new Rig();
    const command = `node dist/coordinator.js run ${rig.recipe(release)} --format ${format}`;
    {
      using window = terminal(rig, command);
      await window.shows(/\? (release: )?Type the version/);
      window.press("C-c");
      expect(await window.shows("code=")).toMatch(/run cancelled: 1 passed, 1 cancelled[\s\S]*code=130/);
    }
    using window = terminal(rig, command);
    await window.shows(/\? (release: )?Type the version/);
    window.press("C-d");
    expect(await window.shows("code=")).toMatch(/its terminal was closed[\s\S]*code=1/);
  });

  it("is over when its job's time is up, and takes --answer when its run is resumed", async () => {
    await using rig = new Rig();
    const late = rig.recipe(release.replace("needs: [ready],", 'needs: [ready], timeout: "4s",'), "late.ts");
    {
      using window = terminal(rig, `node dist/coordinator.js run ${late} --format plain`);
      const screen = await window.shows("code=1");
      expect(screen).toMatch(/\? Type the version[\s\S]*not answered[\s\S]*✖ failed: .*4(\.0)? s/);
    }
    const path = rig.recipe(release);
    using window = terminal(rig, `node dist/coordinator.js run ${path} --format plain`);
    await window.shows("? Type the version");
    for (const pid of processesOf(`coordinator.js\0run\0${path}`)) process.kill(pid, "SIGKILL");
    await window.shows("code=137");
    const resumed = await rig.coordinator(["resume", "last", "--answer", `release=${SECRET}`]);
    expect([resumed.code, resumed.text]).toEqual([0, expect.stringContaining("│ 12 characters\n")]);
    expect(kept(rig.home)).not.toContain(SECRET);
  });

  it("fails where there is no terminal, and says what to do; what was given beforehand is its answer", async () => {
    await using rig = new Rig();
    const path = rig.recipe(release);
    const none = await rig.coordinator(["run", path], { input: `${SECRET}\n` });
    expect(none.code).toBe(1);
    expect(none.text).toMatch(/release asks "Type the version", and there is no terminal.*--answer JOB=TEXT/);
    const detached = await rig.coordinator(["run", path, "--detach"]);
    const attached = await rig.coordinator(["attach", detached.text.trim()]);
    expect([attached.code, attached.text]).toEqual([1, expect.stringContaining("there is no terminal to ask at")]);

    const given = await rig.coordinator(["run", path, "--answer", `release=${SECRET}`]);
    expect([given.code, given.text]).toEqual([0, expect.stringContaining("│ 12 characters\n")]);
    expect(given.text).toContain("answered by --answer: Type the version");
    const wrong = await rig.coordinator(["run", path, "--answer", "release=no", "--format", "json"]);
    expect([wrong.code, wrong.text]).toEqual([1, expect.stringContaining("is not what release takes")]);
    // The detached one closes its record after it has told the end.
    const running = await until(
      () => processesOf(rig.home),
      (pids) => pids.length === 0,
    );
    expect(running).toEqual([]);
    const events = given.text + (await rig.coordinator(["show", "last", "--json"])).text + wrong.text + kept(rig.home);
    expect(events).not.toContain(SECRET);
  });

  it("has an answer for each question of each job by its name, and a wrong name is told before anything runs", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, matrix, recipe } from "sortie";
      const deploy = matrix({ to: ["a", "b"] }, ({ to }) => job({ run: async ({ ask, log }) => {
        log(to, await ask("one?"), await ask("two?"));
      } }));
      const gives = job({ run: () => ({ late: job({ run: async ({ ask, log }) => void log(await ask("late?")) }) }) });
      const leaves = job({ run: ({ ask }) => { void ask("who cares?"); } });
      export default recipe({ deploy, gives, leaves });`);
    const pairs = ["deploy[to=a]=a=1", "deploy[to=b]=b1", "deploy[to=a]=a2", "deploy[to=b]=", "gives.late=l"];
    const { code, text } = await rig.coordinator(["run", path, ...pairs.flatMap((pair) => ["--answer", pair])]);
    expect({ code, text }).toMatchObject({ code: 0 });
    expect(text).toMatch(/│ a a=1 a2$/m);
    expect(text).toMatch(/│ b b1 $/m);
    expect(text).toMatch(/gives.late +│ l$/m);
    const wrong = await rig.coordinator(["run", path, "--answer", "deplay=x"]);
    expect([wrong.code, wrong.text, wrong.stderr]).toEqual([2, "", expect.stringContaining('no job "deplay"')]);
    const unnamed = await rig.coordinator(["run", path, "--answer", SECRET]);
    expect([unnamed.code, unnamed.stderr.includes(SECRET)]).toEqual([2, false]);
  });

  it("is shown by the views of CI services and of programs", async () => {
    await using rig = new Rig();
    const path = rig.recipe(release);
    const answer = ["--answer", `release=${SECRET}`];
    for (const format of ["github", "gitlab"]) {
      const { text } = await rig.coordinator(["run", path, "--format", format, ...answer]);
      expect(text).toContain("job release: answered by --answer: Type the version\n");
    }
    const { text } = await rig.coordinator(["run", path, "--format", "json", ...answer]);
    expect(text).toMatch(/"type":"job-answered","at":\d+,"job":"release","question":"Type the version","by":"option"}/);
  });
});

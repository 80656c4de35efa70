// `coordinator run --watch`, as a process whose files change.
import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type Live, Rig } from "../rig/rig.ts";

const WAITING = "waiting for changes; Ctrl-C ends it";

/** A project with files, whose jobs write their names down. */
class Project {
  readonly rig: Rig;
  readonly #ran: string;
  #waits = 0;

  constructor(rig: Rig) {
    this.rig = rig;
    this.#ran = join(rig.folder, "ran");
  }

  source(more = "", imports = "./words.ts"): string {
    return `import { job, recipe } from "sortie";
      import { word } from ${JSON.stringify(imports)};
      const run = (name) => ({ env: { RAN: ${JSON.stringify(this.#ran)}, NAME: name }, run: 'echo "$NAME" >> "$RAN"; echo says ' + word });
      const build = job({ inputs: ["src/**"], ...run("build") });
      const test = job({ needs: [build], inputs: ["test/**"], ...run("test") });
      const docs = job({ inputs: ["docs", "../notes/*.md"], ...run("docs") });
      ${more}
      export default recipe({ build, test, docs });`;
  }

  write(path: string, text: string): void {
    const file = join(this.rig.folder, "project", path);
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, text);
  }

  /** Jobs that ran since the last time, once the watcher waits again. */
  async ran(live: Live): Promise<string> {
    const times = ++this.#waits;
    await live.waitFor(new RegExp(`(?:[\\s\\S]*?${WAITING}){${times}}`));
    const names = existsSync(this.#ran) ? readFileSync(this.#ran, "utf8").trim().split("\n").sort().join(" ") : "";
    rmSync(this.#ran, { force: true });
    return names;
  }
}

async function stopped(live: Live): Promise<void> {
  live.child.kill("SIGINT");
  expect((await live.ended).code).toBe(130);
}

describe("coordinator run --watch", () => {
  it("runs what a change concerns and what needs that, everything when the recipe changes, and waits on when it is broken", async () => {
    await using rig = new Rig();
    const project = new Project(rig);
    const path = rig.recipe(project.source());
    project.write("words.ts", 'export const word = "one";');
    project.write("src/a.ts", "");
    project.write(".gitignore", "made\n");
    project.write("../notes/a.md", "");
    const live = rig.spawnCoordinator(["run", path, "--watch"]);
    expect(await project.ran(live)).toBe("build docs test");

    project.write("docs/deep/page.md", "new");
    expect(await project.ran(live)).toBe("docs");
    expect(live.stdout()).toMatch(/page\.md changed: docs, what needs it and what did not pass$/m);
    expect(live.stdout()).toMatch(/✔ kept: passed in the run/);

    // Ignored, and of no job: nothing runs until the next one does.
    project.write("src/made", "");
    project.write("elsewhere.txt", "");
    project.write("src/b.ts", "new");
    expect(await project.ran(live)).toBe("build test");
    expect(live.stdout()).toMatch(/b\.ts changed: build, what needs it/);

    project.write("../notes/a.md", "changed");
    expect(await project.ran(live)).toBe("docs");

    project.write("words.ts", 'export const word = "two";');
    expect(await project.ran(live)).toBe("build docs test");
    expect(live.stdout()).toContain("words.ts changed: everything runs again");
    expect(live.stdout()).toMatch(/build │ says two/);

    rig.recipe(project.source("const broken = ;"));
    expect(await project.ran(live)).toBe("");
    await live.waitFor(/error\[RECIPE_SYNTAX\]/);
    rig.recipe(project.source("", "./other.ts"));
    expect(await project.ran(live)).toBe("");
    project.write("other.ts", 'export const word = "three";');
    expect(await project.ran(live)).toBe("build docs test");
    expect(live.stdout()).toMatch(/build │ says three/);
    await stopped(live);
  });

  it("lets a run come to its end when something changes meanwhile, and then runs that", async () => {
    await using rig = new Rig();
    const gate = join(rig.folder, "gate");
    execFileSync("mkfifo", [gate]);
    const path = rig.recipe(`import { job, recipe } from "sortie";
      export default recipe({
        slow: job({ inputs: ["a"], env: { GATE: ${JSON.stringify(gate)} }, run: "echo up; read x < $GATE; echo done" }),
        quick: job({ inputs: ["b"], run: "echo quick" }),
      });`);
    const live = rig.spawnCoordinator(["run", path, "--watch", "--format", "json"]);
    await live.waitFor(/"text":"up\\n"/);
    writeFileSync(join(rig.folder, "project", "b"), "");
    writeFileSync(gate, "go\n");
    await live.waitFor(/b changed: quick,/);
    await live.waitFor(new RegExp(`(?:[\\s\\S]*?${WAITING}){2}`));
    // That is on stderr; what is on stdout may come later.
    await live.waitFor(/(?:[\s\S]*?"type":"run-ended".*\n){2}/);
    const events = live
      .stdout()
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.filter(({ type }) => type === "run-ended").map(({ outcome }) => outcome)).toEqual([
      "passed",
      "passed",
    ]);
    expect(events.filter(({ text }) => text === "up\n")).toHaveLength(1);
    expect(events.filter(({ text }) => text === "quick\n")).toHaveLength(2);
    expect(live.stderr()).toContain(WAITING);
    await stopped(live);
  });

  it("runs what failed again with whatever changes, and ends with Ctrl-C in the middle of a job too", async () => {
    await using rig = new Rig();
    const path = rig.recipe(`import { job, recipe } from "sortie";
      const bad = job({ inputs: ["a"], run: "exit 3" });
      export default recipe({ bad, after: job({ needs: [bad], run: "echo after" }), other: job({ inputs: ["b"], run: "echo other" }) });`);
    const live = rig.spawnCoordinator(["run", path, "--watch"]);
    await live.waitFor(new RegExp(WAITING));
    rig.recipe("", "b");
    await live.waitFor(new RegExp(`(?:[\\s\\S]*?${WAITING}){2}`));
    expect(live.stdout().match(/✖ failed: exit 3/g)).toHaveLength(2);
    rig.recipe(
      'import { job, recipe } from "sortie"; export default recipe({ long: job({ run: "echo up; sleep 5855" }) });',
    );
    await live.waitFor(/long │ up/);
    await stopped(live);
    expect(live.stdout()).toContain("■ cancelled: cancelled by the user");
  });

  it("is not started again by what the run itself writes: its record, and its report", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      'import { job, recipe } from "sortie"; export default recipe({ a: job({ run: "echo hi" }) });',
    );
    const project = join(rig.folder, "project");
    const live = rig.spawnCoordinator(["run", path, "--watch", "--junit", "junit.xml"], {
      cwd: project,
      env: { SORTIE_HOME: "state" },
    });
    await live.waitFor(new RegExp(WAITING));
    writeFileSync(join(project, "x"), "");
    await live.waitFor(new RegExp(`(?:[\\s\\S]*?${WAITING}){2}`));
    expect(existsSync(join(project, "junit.xml")) && existsSync(join(project, "state", "coordinator"))).toBe(true);
    expect(live.stdout().match(/^.*changed: .*$/gm)).toEqual(["x changed: a, what needs it and what did not pass"]);
    await stopped(live);
  });

  it("is an error beside what runs nothing, and of a recipe that is not there", async () => {
    await using rig = new Rig();
    for (const other of ["--detach", "--dry-run", "--from=greet", "--graph=dot"]) {
      const { code, stderr } = await rig.coordinator(["run", "recipes/hello.ts", "--watch", other]);
      expect({ code, said: stderr.includes("--watch and --") }).toEqual({ code: 2, said: true });
    }
    expect((await rig.coordinator(["run", "recipes/helo.ts", "--watch"])).stderr).toContain("error[RECIPE_NOT_FOUND]");
  });
});

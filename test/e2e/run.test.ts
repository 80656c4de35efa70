import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, secondPress, until } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;

describe("coordinator run, on the embedded runner", () => {
  let rig: Rig;
  beforeAll(() => {
    rig = new Rig();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  it("runs hello.ts with nothing set up, and keeps its history", async () => {
    const { code, text } = await rig.coordinator(["run", "recipes/hello.ts"]);
    expect(code).toBe(0);
    expect(text).toContain("greet   │ Hello from Sortie!");
    expect(text).toContain("count   │ This line went to stderr.");
    expect(text).toMatch(/run passed: 3 passed/);
    expect(text.indexOf("goodbye │ started")).toBeGreaterThan(text.indexOf("greet   │ ✔"));
    const shown = await rig.coordinator(["show", "last"]);
    expect(shown.text.match(/exit 0 .*complete/g)?.length).toBe(3);
    expect((await rig.coordinator(["runs"])).text).toMatch(/passed .*recipes\/hello.ts/);
  });

  it("lists the recipes with their first lines when none is named", async () => {
    const { code, text } = await rig.coordinator(["run"]);
    expect(code).toBe(0);
    expect(text).toMatch(/recipes\/hello.ts +Hello: two jobs side by side/);
    expect(text).toContain("recipes/fan-out.ts");
  });

  it("prints the plan of its own checks, and runs nothing", async () => {
    const { code, text } = await rig.coordinator(["run", "recipes/ci.ts", "--dry-run"]);
    expect(code).toBe(0);
    expect(text).toMatch(/^lint\n.*\n {2}\$ npm run lint$/m);
    expect(text).toMatch(/^test {2}needs lint, types$/m);
    expect((await rig.coordinator(["runs"])).text).not.toContain("ci.ts");
  });

  it("fans out over a hundred jobs", async () => {
    const { code, text } = await rig.coordinator(["run", "recipes/fan-out.ts"]);
    expect(code).toBe(0);
    expect(text).toContain("101 passed");
    expect(text).toContain("100 parts are done");
  });

  it("exits 1 when a job fails, skips what needs it, and lets the rest pass", async () => {
    const path = rig.recipe(
      recipe(`
      const bad = job({ run: "echo why >&2; exit 3" });
      const after = job({ needs: [bad], run: "echo never" });
      const later = job({ needs: [after], run: "echo never" });
      const good = job({ run: "echo fine" });
      export default recipe({ bad, after, later, good });`),
    );
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(1);
    expect(text).toContain("✖ failed: exit 3");
    expect(text).toContain("- skipped: bad failed");
    expect(text).toMatch(/1 failed, 2 skipped, 1 passed|1 passed, 1 failed, 2 skipped/);
    expect(text).not.toContain("never");
    expect(text).toMatch(/coordinator logs \w+\/bad/);
  });

  it("runs steps in one directory until one fails, and removes it", async () => {
    const path = rig.recipe(
      recipe(`
      export default recipe({
        steps: job({ run: [sh\`pwd > where; echo one\`, ["cat", "where"], sh\`exit 4\`, sh\`echo never\`] }),
      });`),
    );
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(1);
    expect(text).toContain("step 3 of 4");
    expect(text).toContain("exit 4");
    expect(text).not.toContain("never");
    const folder = /│ (\/\S+)/.exec(text)?.[1] ?? "";
    expect(folder).toContain("/work/");
    expect((await import("node:fs")).existsSync(folder)).toBe(false);
  });

  it("gives a job a clean environment: nothing of the coordinator's but what is listed", async () => {
    const path = rig.recipe(recipe(`export default recipe({ env: job({ env: { MINE: "1" }, run: ["env"] }) });`));
    const { text } = await rig.coordinator(["run", path], { env: { LEAK: "secret", NODE_ENV: "test" } });
    const names = [...text.matchAll(/│ ([A-Z_]+)=/g)].map(([, name]) => name).sort();
    expect(names).toEqual([
      "CI",
      "HOME",
      "LANG",
      "MINE",
      "PATH",
      "SORTIE",
      "SORTIE_ATTEMPT",
      "SORTIE_ATTEMPT_ID",
      "SORTIE_JOB",
      "SORTIE_RUN",
      "TERM",
    ]);
  });

  it("ends a job whose time is up, with its whole tree", async () => {
    const path = rig.recipe(
      recipe(
        `export default recipe({ slow: job({ timeout: "300ms", grace: "100ms", run: "trap '' TERM; sleep 5811 & setsid sleep 5812 & wait; sleep 5813" }) });`,
      ),
    );
    const { code, text } = await rig.coordinator(["run", path]);
    expect(code).toBe(1);
    expect(text).toContain("timed out after 0.3 s");
    expect(["5811", "5812", "5813"].flatMap((seconds) => processesOf(`sleep\0${seconds}`))).toEqual([]);
  });

  it("prints one JSON event a line", async () => {
    const path = rig.recipe(recipe(`export default recipe({ hi: job({ run: "printf 'a\\\\377'; echo b >&2" }) });`));
    const { text } = await rig.coordinator(["run", path, "--format", "json"]);
    const events = text
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(events.map((event) => event.type)).toEqual(
      expect.arrayContaining(["run-started", "job-started", "job-output", "job-ended", "run-ended"]),
    );
    expect(events.find((event) => event.stream === "stdout").base64).toBe(Buffer.from([0x61, 0xff]).toString("base64"));
    expect(events.find((event) => event.stream === "stderr").text).toBe("b\n");
    expect(events.at(-1)).toMatchObject({ type: "run-ended", outcome: "passed" });
  });

  it("cancels at Ctrl-C, waits, exits 130, and leaves nothing running", async () => {
    const path = rig.recipe(
      recipe(`
      const first = job({ run: "echo up; setsid sleep 5814 & sleep 5815" });
      export default recipe({ first, second: job({ needs: [first], run: "echo never" }) });`),
    );
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGINT");
    const { code, text } = await live.ended;
    expect(code).toBe(130);
    expect(text).toContain("■ cancelled: cancelled by the user");
    expect(text).toContain("run cancelled: 2 cancelled");
    expect(["5814", "5815"].flatMap((seconds) => processesOf(`sleep\0${seconds}`))).toEqual([]);
  });

  it("leaves at once at the second Ctrl-C, with nothing left running either", async () => {
    const path = rig.recipe(
      recipe(
        `export default recipe({ stubborn: job({ grace: "60s", run: "trap '' TERM; echo up; while :; do sleep 0.1; done # 5816" }) });`,
      ),
    );
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/│ up/);
    live.child.kill("SIGINT");
    await live.waitFor(/cancelling/);
    await secondPress();
    live.child.kill("SIGINT");
    expect((await live.ended).code).toBe(130);
    expect(
      await until(
        () => processesOf("# 5816"),
        (pids) => pids.length === 0,
      ),
    ).toEqual([]);
  });

  it("does not call a job passed whose output cannot be stored, and says so", async () => {
    await using own = new Rig();
    const path = own.recipe(recipe(`export default recipe({ big: job({ run: "echo up; sleep 5817" }) });`));
    // A file where the folder of logs should be: nothing can be written there.
    mkdirSync(join(own.home, "coordinator"), { recursive: true });
    writeFileSync(join(own.home, "coordinator", "logs"), "");
    const { code, text, stderr } = await own.coordinator(["run", path]);
    expect(stderr).toContain("error[STORE_FAILED]");
    expect(code).toBe(3);
    expect(text).not.toContain("passed");
    expect(processesOf("sleep\x005817")).toEqual([]);
    expect((await own.coordinator(["runs", "--json"])).text).not.toContain("passed");
  });
});

describe("coordinator run, with bad input", () => {
  let rig: Rig;
  beforeAll(() => {
    rig = new Rig();
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const cases: Record<string, { source: string; code: string; line: number; says: RegExp }> = {
    "a syntax error": {
      source: "\nexport default recipe({ a: job({ run: 'x' ) });",
      code: "RECIPE_SYNTAX",
      line: 3,
      says: /not valid TypeScript/,
    },
    "a thrown error": {
      source: "\nconst x: any = undefined;\nx.y();\nexport default recipe({});",
      code: "RECIPE_THREW",
      line: 4,
      says: /TypeError/,
    },
    "no default export": { source: "export const a = 1;", code: "RECIPE_INVALID", line: 1, says: /no default export/ },
    "a default export that is no recipe": {
      source: "export default { a: 1 };",
      code: "RECIPE_INVALID",
      line: 1,
      says: /recipe\(\) did not make/,
    },
    "a name given twice": {
      source: "const a = job({ run: 'true' });\nexport default recipe({\n  a: a,\n  a: job({ run: 'true' }),\n});",
      code: "RECIPE_INVALID",
      line: 5,
      says: /Duplicate key "a"/,
    },
    "one job under two names": {
      source: "const a = job({ run: 'true' });\nexport default recipe({ a, b: a });",
      code: "RECIPE_INVALID",
      line: 2,
      says: /two names, a and b/,
    },
    "an unknown option": {
      source: "\nconst a = job({ run: 'true', tiemout: '1s' } as never);\nexport default recipe({ a });",
      code: "RECIPE_INVALID",
      line: 3,
      says: /no option "tiemout"/,
    },
    "a wrong value": {
      source: "const a = job({ run: 'true', timeout: 'soon' });\nexport default recipe({ a });",
      code: "RECIPE_INVALID",
      line: 2,
      says: /timeout must be/,
    },
    "a job that is needed but not listed": {
      source: "const a = job({ run: 'true' });\nexport default recipe({ b: job({ needs: [a], run: 'true' }) });",
      code: "RECIPE_INVALID",
      line: 3,
      says: /does not list \(made on line 2\)/,
    },
    "a cycle": {
      source:
        "const needs: any[] = [];\nconst a = job({ needs, run: 'true' });\nneeds.push(a);\nexport default recipe({ a });",
      code: "RECIPE_CYCLE",
      line: 3,
      says: /a -> a/,
    },
    "an unknown selector": {
      source: "const a = job({ on: { gpu: 'yes' }, run: 'true' });\nexport default recipe({ a });",
      code: "SELECTOR_UNKNOWN",
      line: 2,
      says: /asks for gpu=yes; there is local/,
    },
    "several steps written as strings": {
      source: "const a = job({ run: ['npm ci', 'npm test'] });\nexport default recipe({ a });",
      code: "RECIPE_INVALID",
      line: 2,
      says: /A list of strings is argv/,
    },
    "a bad interpolation": {
      source: "const a = job({ run: sh`echo ${{} as never}` });\nexport default recipe({ a });",
      code: "RECIPE_THREW",
      line: 2,
      says: /cannot hold object/,
    },
  };
  for (const [what, { source, code, line, says }] of Object.entries(cases)) {
    it(`exits 2 at ${what}, with the file, the line, and one clear sentence`, async () => {
      const path = rig.recipe(recipe(source).replace(/\n$/, ""), `bad-${Object.keys(cases).indexOf(what)}.ts`);
      const ended = await rig.coordinator(["run", path]);
      expect(ended.stderr).toContain(`error[${code}]: `);
      expect(ended.stderr).toMatch(says);
      expect(ended.stderr).toContain(`at ${path}:${line}`);
      expect(ended.stderr).not.toMatch(/\n +at .*(?:node:|dist\/)/);
      expect(ended.code).toBe(2);
    });
  }

  it("shows the stack with --debug", async () => {
    const path = rig.recipe(recipe("throw new Error('deep');"), "debug.ts");
    expect((await rig.coordinator(["run", path])).stderr).not.toMatch(/^ {4}at /m);
    expect((await rig.coordinator(["run", path, "--debug"])).stderr).toMatch(/^ {4}at /m);
  });

  it("exits 2 for a file that is not there, and names one that is near", async () => {
    const { code, stderr } = await rig.coordinator(["run", "recipes/helo.ts"]);
    expect(code).toBe(2);
    expect(stderr).toContain("Did you mean recipes/hello.ts?");
  });

  it("exits 2 for a wrong command line", async () => {
    for (const args of [
      ["run", "recipes/hello.ts", "--dryrun"],
      ["rum"],
      [],
      ["run", "recipes/hello.ts", "--jobs", "many"],
      ["logs", "no/such"],
      ["show", "nothing"],
    ]) {
      const { code, stderr } = await rig.coordinator(args);
      expect({ args, code }).toEqual({ args, code: 2 });
      expect(stderr).toMatch(/^error\[/);
    }
  });
});

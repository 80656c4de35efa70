import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;

describe("coordinator logs", () => {
  let rig: Rig;
  beforeAll(async () => {
    rig = new Rig();
    const go = join(rig.folder, "go");
    // Its first line was read well before it writes the next one: their times are not the same.
    const gate = `until [ -e ${go} ]; do sleep 0.05; done; sleep 0.4`;
    const script = `for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; [ $i != 1 ] || { ${gate}; }; done; printf tail`;
    const path = rig.recipe(
      recipe(`export default recipe({ talk: job({ run: ${JSON.stringify(script)} }) });`),
      "talk.ts",
    );
    const talk = rig.spawnCoordinator(["run", path]);
    await talk.waitFor(/│ out 1\n/);
    writeFileSync(go, "");
    expect((await talk.ended).code).toBe(0);
  });
  afterAll(() => rig[Symbol.asyncDispose]());

  const out = [1, 2, 3, 4, 5].map((index) => `out ${index}\n`).join("");
  const err = [1, 2, 3, 4, 5].map((index) => `err ${index}\n`).join("");

  it("shows both streams where they belong, by job, RUN/JOB and a prefix", async () => {
    const [run] = JSON.parse((await rig.coordinator(["runs", "--json"])).text) as { id: string }[];
    for (const name of ["talk", "last/talk", `${run?.id.slice(0, 5)}/talk`]) {
      const { code, text, stderr } = await rig.coordinator(["logs", name]);
      expect({ name, code, text, stderr }).toEqual({ name, code: 0, text: `${out}tail`, stderr: err });
    }
  });

  it("shows one stream alone", async () => {
    expect(await rig.coordinator(["logs", "talk", "--stdout"])).toMatchObject({ text: `${out}tail`, stderr: "" });
    expect(await rig.coordinator(["logs", "talk", "--stderr"])).toMatchObject({ text: "", stderr: err });
  });

  it("shows the last lines, over both streams or of one", async () => {
    expect((await rig.coordinator(["logs", "talk", "--stdout", "-n", "2"])).text).toBe("out 5\ntail");
    expect((await rig.coordinator(["logs", "talk", "--stderr", "-n", "1"])).stderr).toBe("err 5\n");
    expect((await rig.coordinator(["logs", "talk", "-n", "0"])).text).toBe("");
    expect((await rig.coordinator(["logs", "talk", "--stdout", "-n", "999"])).text).toBe(`${out}tail`);
  });

  it("puts the time before each line, and it goes on", async () => {
    const { text } = await rig.coordinator(["logs", "talk", "--stdout", "--timestamps"]);
    const times = [...text.matchAll(/^(\d{4}-\d\d-\d\dT[\d:.]+Z) (?:out|tail)/gm)].map(([, time]) =>
      Date.parse(time ?? ""),
    );
    expect(times.length).toBe(6);
    expect((times[4] ?? 0) - (times[0] ?? 0)).toBeGreaterThan(300);
  });

  it("follows a job of another terminal from its first byte to its exit", async () => {
    const path = rig.recipe(
      recipe(
        `export default recipe({ slow: job({ run: "echo first; read x < $GATE; echo last; exit 9", env: { GATE: ${JSON.stringify(`${rig.folder}/gate`)} } }) });`,
      ),
      "slow.ts",
    );
    execFileSync("mkfifo", [`${rig.folder}/gate`]);
    const run = rig.spawnCoordinator(["run", path]);
    await run.waitFor(/│ first/);
    const tail = rig.spawnCoordinator(["logs", "-f", "slow"]);
    await tail.waitFor(/first/);
    writeFileSync(`${rig.folder}/gate`, "go\n");
    const { code, text, stderr } = await tail.ended;
    expect({ code, text }).toEqual({ code: 0, text: "first\nlast\n" });
    expect(stderr).toContain("slow ended with exit 9");
    expect((await run.ended).code).toBe(1);
  });

  it("never shows a log as whole whose coordinator was killed", async () => {
    const path = rig.recipe(recipe(`export default recipe({ cut: job({ run: "echo up; sleep 5851" }) });`), "cut.ts");
    const run = rig.spawnCoordinator(["run", path]);
    await run.waitFor(/│ up/);
    const tail = rig.spawnCoordinator(["logs", "-f", "cut"]);
    await tail.waitFor(/up/);
    run.child.kill("SIGKILL");
    const { code, text, stderr } = await tail.ended;
    expect({ code, text }).toEqual({ code: 1, text: "up\n" });
    expect(stderr).toContain("incomplete: it has no exit; its coordinator is gone");
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/interrupted/);
    for (const pid of processesOf("sleep\x005851")) process.kill(pid, "SIGKILL");
  });

  it("says what a bounded log of a single command left out", async () => {
    await rig.pairedRunner("w1");
    const exec = await rig.coordinator([
      "exec",
      "w1",
      "--stdin=false",
      "--",
      "sh",
      "-c",
      "head -c 20000000 /dev/zero; echo err >&2",
    ]);
    expect(exec.stdout.length).toBe(20_000_000);
    const logs = await rig.coordinator(["logs", "exec"]);
    expect(logs.code).toBe(1);
    expect(logs.stdout.length).toBeLessThan(20_000_000);
    expect(logs.stderr).toMatch(/bytes of stdout .* are not in this log/);
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/incomplete: stdout has \d+ of 20000000 bytes/);
  });

  it("makes what a job wrote harmless to a terminal, and to the plain view", async () => {
    const path = rig.recipe(
      recipe(`export default recipe({ evil: job({ run: "printf '\\\\033]52;c;ZXZpbA==\\\\007\\\\033[2Jx\\\\n'" }) });`),
      "evil.ts",
    );
    const { text } = await rig.coordinator(["run", path]);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: these are the characters that must not be there.
    expect(text).not.toMatch(/[\u001b\u0007]/);
    expect((await rig.coordinator(["logs", "evil", "--raw"])).text).toBe("\u001b]52;c;ZXZpbA==\u0007\u001b[2Jx\n");
  });
});

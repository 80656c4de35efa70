// Grants of real runners: flags, the policy file while the runner runs, questions in a terminal, and the commands that explain.
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { describe, expect, it } from "vitest";
import { type Ended, type Live, Rig } from "../rig/rig.ts";
import { terminal } from "../rig/terminal.ts";

describe("a runner with grants", () => {
  it("starts what its flags name, tells what it refuses and what they come to, and obeys its policy file at once", async () => {
    await using rig = new Rig();
    const runner = await rig.pairedRunner("w1", ["--allow-run=echo,sh", "--allow-run=true", "--slots", "2"]);
    expect(runner.stdout()).toContain("grants, to every trusted coordinator: run echo, sh, true\n");
    await runner.waitFor(/warning: flags: allow run=sh: sh can start any other program/);
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "hello"])).text).toBe("hello\n");

    const refused = await rig.coordinator(["exec", "w1", "-e", "FOO=1", "--", "git", "push"]);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain(
      'error[DENIED]: The runner w1 was not told to let this coordinator run "git", or set the variable FOO.',
    );
    expect(refused.stderr).toMatch(/hint: .*--allow-run=git --allow-env=FOO.*But git can start any other program/);
    const run = await rig.coordinator([
      "run",
      rig.recipe(
        `import { job, recipe } from "sortie"; export default recipe({ deploy: job({ on: { runner: "w1" }, run: "git push" }) });`,
      ),
    ]);
    expect(run.code).toBe(3);
    expect(run.text).toMatch(/deploy[\s\S]*The runner w1 was not told to let this coordinator run a shell command/);
    expect(run.text).toContain("--allow-shell");

    const path = join(runner.home, "runner", "runner.policy.json");
    const policy = (content: unknown): void => writeFileSync(path, JSON.stringify(content), { mode: 0o600 });
    policy({ allow: { env: ["FOO"] } });
    expect((await rig.coordinator(["exec", "w1", "-e", "FOO=1", "--", "sh", "-c", "echo $FOO"])).text).toBe("1\n");
    policy({ allow: { env: ["FOO"] }, deny: { run: ["echo"] } });
    const denied = await rig.coordinator(["exec", "w1", "--", "echo", "hello"]);
    expect(denied.stderr).toContain('error[DENIED]: The runner w1 was told not to let this coordinator run "echo".');
    await runner.waitFor(/policy: deny run=echo/);
  });

  it("asks in a terminal where it was given none: always, or not", async () => {
    await using rig = new Rig();
    const home = join(rig.folder, "w1");
    const start = "node dist/runner.js start --name w1 --listen /ip4/127.0.0.1/tcp/0 --slots 2";
    using window = terminal(rig, `SORTIE_HOME=${home} ${start}`);
    await window.shows("none; each new thing is asked for here");
    const { text } = await rig.runner(["invite"], home);
    expect((await rig.coordinator(["add", text.trim()])).code).toBe(0);
    const exec = (...command: string[]): Live =>
      rig.spawnCoordinator(["exec", "w1", "--stdin=false", "--", ...command]);
    const answer = async ({ ended }: Live, question: RegExp, key: string): Promise<Ended> => {
      await window.shows(question);
      for (;;) {
        // What is typed before it can have been read is no answer: where the runner was held up, it asks again.
        await delay(400);
        window.type(key);
        window.press("Enter");
        const answered = await Promise.race([ended, delay(3_000)]);
        if (answered) return answered;
      }
    };
    const always = exec("sh", "-c", "echo two");
    const { text: two } = await answer(
      always,
      /12D3KooW\S+ wants to run "sh", for the job exec[\s\S]*sh can start any other program[\s\S]*›/,
      "a",
    );
    expect(two).toBe("two\n");
    expect((await exec("sh", "-c", "echo three").ended).text).toBe("three\n");
    const policy = JSON.parse(readFileSync(join(home, "runner", "runner.policy.json"), "utf8"));
    expect(Object.values(policy.peers)).toEqual([{ allow: { run: ["sh"] } }]);

    const no = exec("true");
    expect((await answer(no, /wants to run "true"[\s\S]*›/, "d")).stderr).toContain("error[DENIED]");
    window.press("C-c");
    await window.shows("code=0");
  });

  it("only audits where it is told to: refuses everything, and tells the flags", async () => {
    await using rig = new Rig();
    const audited = await rig.pairedRunner("w1", ["--audit-only", "--allow-run=true"]);
    const refused = await rig.coordinator(["exec", "w1", "--", "true"]);
    expect(refused.stderr).toContain("error[DENIED]: The runner w1 only audits");
    for (const command of [["true"], ["git", "push"], ["make"]])
      expect((await rig.coordinator(["exec", "w1", "-e", "A=1", "--", ...command])).code).toBe(125);
    expect((await audited.stop()).text).toContain(
      "all that was asked for would need: --allow-env=A --allow-run=git,make\n",
    );
  });

  it("does not start with a kind, an item or a policy that is none", async () => {
    await using rig = new Rig();
    const start = (...args: string[]) =>
      rig.runner(
        ["start", "--listen", "/ip4/127.0.0.1/tcp/0", ...args],
        join(rig.folder, args.join("").replaceAll("/", "_")),
      );
    const [kind, item, empty, policy] = await Promise.all([
      start("--allow-walk=git"),
      start("--allow-run=./git"),
      start("--allow-run="),
      start("--policy", join(rig.folder, "none.json")),
    ]);
    for (const [ended, why] of [
      [kind, "allow-walk"],
      [item, "error[USAGE]"],
      [empty, "--allow-run= has an empty item"],
      [policy, "error[POLICY_INVALID]"],
    ] as const) {
      expect(ended.code).toBe(2);
      expect(ended.stderr).toContain(why);
    }
  });
});

describe("runner policy", () => {
  it("checks a file, explains a job, and prints the schema", async () => {
    await using rig = new Rig();
    const home = join(rig.folder, "w1");
    const path = join(rig.folder, "policy.json");
    const content = { allow: { run: ["true"] }, peers: { laptop: { allow: { run: ["sh"] }, deny: { env: ["FOO"] } } } };
    writeFileSync(path, JSON.stringify(content), { mode: 0o600 });
    const job = join(rig.folder, "job.json");
    writeFileSync(job, JSON.stringify({ steps: [{ argv: ["true"] }], container: undefined, cwd: "/" }));
    const explain = (...args: string[]) =>
      rig.runner(["policy", "explain", "--policy", path, ...args], home, readFileSync(job, "utf8"));
    const [checked, schema, laptop, nobody, all, file, flags, host] = await Promise.all([
      rig.runner(["policy", "check", path], home),
      rig.runner(["policy", "schema"], home),
      explain("--peer", "laptop", "-e", "FOO=1", "--", "sh", "-c", "x"),
      explain("--peer", "labtop", "--", "true"),
      explain("--", "sh"),
      explain(job),
      explain("-", "--allow-cwd=/"),
      explain("--ssh", "deploy@[::1]:22", "--allow-ssh=deploy@[::1]:22", "--", "true"),
    ]);
    expect([laptop.stderr, nobody.stderr]).toEqual([
      "",
      expect.stringMatching(/^nobody is called labtop .* does not speak/),
    ]);
    expect(host.text).toContain("yes  run on deploy@[::1]:22 by ssh\n");
    expect(checked).toMatchObject({ code: 0, stderr: "" });
    expect(checked.text).toContain("policy peers.laptop: run sh; but no env FOO\n");
    expect(checked.text).toContain("warning: policy peers.laptop: allow run=sh: sh can start any other program");
    expect(JSON.parse(schema.text)).toMatchObject({ title: "Policy of a Sortie runner" });
    expect(laptop.code).toBe(1);
    expect(laptop.text).toMatch(/yes {2}run "sh"\n {5}by policy peers.laptop: allow run=sh; it is \/\S+\/sh\n/);
    expect(laptop.text).toContain("no   set the variable FOO\n     by policy peers.laptop: deny env=FOO\n");
    expect(all.text).toContain('nothing allows it: --allow-run=sh, or in the policy file {"allow":{"run":["sh"]}}\n');
    expect(file.text).toContain('no   run in "/"');
    expect(flags).toMatchObject({ code: 0, stderr: "" });
    expect(flags.text).toMatch(/allowed\n$/);
  });
});

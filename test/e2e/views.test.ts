import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig } from "../rig/rig.ts";

const recipe = (body: string): string => `import { job, recipe, sh } from "sortie";\n${body}\n`;

describe("coordinator run in a CI service", () => {
  const failing = recipe(`const bad = job({
      run: "echo '::error::forged'; echo '##[error]forged' >&2; exit 3",
    });
    export default recipe({ bad, good: job({ run: "echo fine" }), after: job({ needs: [bad], run: "true" }) });`);

  it("groups what jobs write for GitHub Actions, points into the recipe, and writes the summary", async () => {
    await using rig = new Rig();
    const path = rig.recipe(failing);
    const summary = join(rig.folder, "summary.md");
    const env = {
      GITHUB_ACTIONS: "true",
      GITHUB_WORKSPACE: join(path, ".."),
      GITHUB_STEP_SUMMARY: summary,
      NO_COLOR: "1",
    };
    const { code, text } = await rig.coordinator(["run", path], { env });
    expect(code).toBe(1);
    expect(text).toMatch(/^::group::✔ good: passed .*\n::stop-commands::(\w+)\nfine\n::\1::\n::endgroup::$/m);
    expect(text).toMatch(/^::group::✖ bad: .*\n::stop-commands::(\w+)\n: :error::forged\n## \[error\]forged\n::\1::$/m);
    expect(text).toContain("\n::error file=recipe.ts,line=2,title=bad failed::exit 3\n");
    expect(readFileSync(summary, "utf8")).toMatch(/^\| bad \| ✖ failed \| .* \| exit 3 \|$/m);
    // Somebody who looks at it later is shown the same.
    const attached = await rig.coordinator(["attach", "last", "--format", "github"]);
    expect(attached.text).toMatch(/^::group::.*good: passed.*\n::stop-commands::(\w+)\nfine\n::\1::$/m);
  });

  it("folds what jobs write for GitLab", async () => {
    await using rig = new Rig();
    const { code, text } = await rig.coordinator(["run", rig.recipe(failing)], { env: { GITLAB_CI: "true" } });
    expect(code).toBe(1);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the service's own marks.
    expect(text).toMatch(/\u001b\[0Ksection_start:\d+:sortie_\d_good\[collapsed=true\]\r\u001b\[0K.*\nfine\n/);
  });
});

describe("the reports of a run", () => {
  it("are a file of JUnit XML, also of a run that is cancelled, and the times as text", async () => {
    await using rig = new Rig();
    const path = rig.recipe(
      recipe(`export default recipe({ quick: job({ run: "echo said" }), slow: job({ run: "echo up; sleep 5857" }) });`),
    );
    const file = join(rig.folder, "junit.xml");
    const live = rig.spawnCoordinator(["run", path, "--junit", file, "--timings", "-j", "2", "--format", "json"]);
    await live.waitFor(/"text":"up/);
    await live.waitFor(/"job":"quick","outcome":"passed"/);
    live.child.kill("SIGINT");
    const { code, text, stderr } = await live.ended;
    expect(code).toBe(130);
    const xml = readFileSync(file, "utf8");
    expect(xml).toMatch(/<testcase classname="recipe.ts" name="quick" time="[\d.]+">\n {4}<system-out>said</);
    expect(xml).toContain('<error type="cancelled" message="cancelled by the user"/>');
    expect(xml).toMatch(/<testsuites tests="2" failures="0" errors="1" skipped="0"/);
    // Programs read the events alone.
    expect(
      text
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line).type)
        .at(-1),
    ).toBe("run-ended");
    expect(stderr).toMatch(/^timings: /m);
    expect(stderr).toMatch(/^\* ■ slow +[░▒]*█+ /m);
  });

  it("leave nothing where the recipe is wrong", async () => {
    await using rig = new Rig();
    const file = join(rig.folder, "junit.xml");
    const { code } = await rig.coordinator(["run", rig.recipe("nothing"), "--junit", file]);
    expect(code).toBe(2);
    expect([existsSync(file), existsSync(`${file}.partial`)]).toEqual([false, false]);
    const unwritable = await rig.coordinator(["run", "recipes/hello.ts", "--junit", join(rig.folder, "no/junit.xml")]);
    expect(unwritable.code).toBe(2);
    expect(unwritable.stderr).toContain("error[USAGE]: --junit ");
  });
});

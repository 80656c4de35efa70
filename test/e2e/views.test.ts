import { readFileSync } from "node:fs";
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
    expect(text).toMatch(/^::group::✖ bad: .*\n::stop-commands::(\w+)\n::error::forged\n## \[error\]forged\n::\1::$/m);
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

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Rig, until } from "../rig/rig.ts";

/** Says its attempt, and counts itself in a file. */
const counted = (file: string, then: string): string => `echo attempt $SORTIE_ATTEMPT; echo x >> ${file}; ${then}`;
const recipe = (jobs: string): string => `import { job, recipe } from "sortie";\nexport default recipe({ ${jobs} });`;
const count = (file: string): number => readFileSync(file, "utf8").split("\n").length - 1;

describe("a job with retry", () => {
  it("is tried until it passes; every attempt is on record, with its log", async () => {
    await using rig = new Rig();
    const file = join(rig.folder, "tries");
    const go = join(rig.folder, "go");
    const run = counted(file, `until [ -e ${go} ]; do sleep 0.05; done; [ $SORTIE_ATTEMPT = 3 ]`);
    const path = rig.recipe(
      recipe(`flaky: job({ retry: { count: 5, backoff: "50ms" }, run: ${JSON.stringify(run)} }),
              never: job({ retry: { count: 5, backoff: 0, on: { codes: [75] } }, run: "exit 3" })`),
    );
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/attempt 1\n/);
    const follower = rig.spawnCoordinator(["logs", "-f", "last/flaky"]);
    await follower.waitFor(/attempt 1\n/);
    writeFileSync(go, "");
    const { code, text } = await live.ended;
    expect(code).toBe(1);
    expect(count(file)).toBe(3);
    expect(text).toMatch(/flaky │ attempt 1 failed: exit 1; tried again in 0.\d s\n/);
    expect(text).toMatch(/flaky │ ✔ passed/);
    expect(text).toMatch(/never │ ✖ failed: exit 3/);
    expect(text).not.toMatch(/never │ .*tried again/);
    const logs = await follower.ended;
    expect(logs).toMatchObject({ code: 0, text: "attempt 1\nattempt 2\nattempt 3\n" });
    expect(logs.stderr).toContain("attempt 1 ended with exit 1; attempt 2 follows");
    const shown = (await rig.coordinator(["show", "last"])).text;
    expect(
      [...shown.matchAll(/^flaky +(\w+) .*(exit \d) +(\w+) +complete$/gm)].map(([, ...how]) => how.slice(0, 2)),
    ).toEqual([
      ["failed", "exit 1"],
      ["failed", "exit 1"],
      ["passed", "exit 0"],
    ]);
    const [, first = ""] = /^flaky .*exit 1 +(\w+)/m.exec(shown) ?? [];
    expect((await rig.coordinator(["logs", first])).text).toBe("attempt 1\n");
    const attached = await rig.coordinator(["attach", "last"]);
    expect(attached.text.match(/flaky │ (attempt \d|✔)/g)).toEqual([
      ...[1, 1, 2, 2, 3].map((attempt) => `flaky │ attempt ${attempt}`),
      "flaky │ ✔",
    ]);
  });

  it("leaves its slot to others while it waits, and can be cancelled meanwhile", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1", ["-A", "--slots", "1"]);
    const path = rig.recipe(
      recipe(`waits: job({ retry: { count: 1, backoff: "1h" }, run: "exit 1" }), other: job({ run: "echo other" })`),
    );
    const live = rig.spawnCoordinator(["run", path]);
    await live.waitFor(/other │ ✔ passed/);
    expect((await rig.coordinator(["show", "last"])).text).toMatch(/^waits +failed .*exit 1/m);
    expect((await rig.coordinator(["cancel", "last/waits"])).code).toBe(0);
    const { code, text } = await live.ended;
    expect(text).toContain("■ cancelled: it was cancelled before it was tried again");
    expect(code).toBe(130);

    const again = rig.spawnCoordinator(["run", path]);
    await again.waitFor(/other │ ✔ passed/);
    again.child.kill("SIGINT");
    const ended = await again.ended;
    expect(ended.code).toBe(130);
    expect(ended.text).toContain("waits │ ■ cancelled: the run was cancelled before it was tried again");
  });

  it("has used up what it used up before its coordinator was killed", async () => {
    await using rig = new Rig();
    await rig.pairedRunner("w1");
    const file = join(rig.folder, "tries");
    const path = rig.recipe(
      recipe(`bad: job({ retry: { count: 2, backoff: "1h" }, run: ${JSON.stringify(counted(file, "exit 1"))} })`),
    );
    let live = rig.spawnCoordinator(["run", path]);
    const [, run = ""] = await live.waitFor(/run (\w+):/);
    for (const attempt of [1, 2]) {
      await live.waitFor(new RegExp(`attempt ${attempt} failed`));
      // Rows are written within a moment.
      const tried = async () => JSON.parse((await rig.coordinator(["show", run, "--json"])).text).jobs[0].attempts;
      const outcomes = await until(tried, (attempts) => attempts[attempt - 1]?.outcome === "failed");
      expect(outcomes).toHaveLength(attempt);
      live.child.kill("SIGKILL");
      await live.ended;
      if (attempt === 1) live = rig.spawnCoordinator(["resume", run]);
    }
    const resumed = await rig.coordinator(["resume", run]);
    expect(resumed.code).toBe(1);
    expect(count(file)).toBe(3);
    expect(resumed.text).toContain("started on w1, attempt 3");
  });
});

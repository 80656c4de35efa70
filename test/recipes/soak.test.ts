import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Rig, until } from "../rig/rig.ts";
import { outputOf, runRecipe, setOf } from "./run.ts";

it("runs as often as it is told, and gives the statistics", async () => {
  await using rig = new Rig();
  const rounds = join(rig.folder, "rounds");
  const { code, jobs, shown } = await runRecipe(rig, "soak", { command: `echo $ROUND >> ${rounds}`, rounds: 8 });
  expect(code).toBe(0);
  expect(readFileSync(rounds, "utf8").trim().split("\n").map(Number)).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
  const { min, median, p95, max, mean, ...rest } = outputOf(jobs, "soak") as Record<string, number>;
  expect(rest).toEqual({ rounds: 8 });
  expect([min, median, p95, max]).toEqual([min, median, p95, max].sort((a = 0, b = 0) => a - b));
  expect(mean).toBeGreaterThan(0);
  expect(shown).toMatch(/^8 rounds passed; ms: mean \d+/m);
});

it("ends at the first failure, with the output of that round alone", async () => {
  await using rig = new Rig();
  const command = 'echo "said in round $ROUND"; echo why >&2; test $ROUND -lt 4 || exit 9';
  const { code, jobs, shown } = await runRecipe(rig, "soak", { command, rounds: 50 });
  expect([code, jobs["soak"]?.message]).toEqual([1, expect.stringContaining("round 4 failed: exit 9")]);
  expect(shown).toMatch(/3 rounds passed; .*\nsaid in round 4\nwhy\n/);
  expect(shown).not.toContain("said in round 3");
});

it("begins no round once its time is up, and leaves nothing when it is cancelled", async () => {
  await using rig = new Rig();
  const timed = await runRecipe(rig, "soak", { command: "sleep 0.2", rounds: 1_000, seconds: 1 });
  const rounds = Number(outputOf(timed.jobs, "soak")["rounds"]);
  expect(timed.code).toBe(0);
  expect(rounds).toBeGreaterThan(0);
  expect(rounds).toBeLessThanOrEqual(5);

  const begun = join(rig.folder, "begun");
  const live = rig.spawnCoordinator(["run", "recipes/soak.ts", ...setOf({ command: `mkfifo ${begun}; cat ${begun}` })]);
  expect(await until(() => existsSync(begun), Boolean)).toBe(true);
  live.child.kill("SIGINT");
  expect((await live.ended).code).toBe(130);
});

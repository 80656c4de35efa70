import { execFileSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { processesOf } from "../rig/processes.ts";
import { Rig, until } from "../rig/rig.ts";
import { runRecipe, setOf } from "./run.ts";

const sqlite = (database: string, sql: string): string =>
  execFileSync("sqlite3", [database, sql], { encoding: "utf8" }).trim();

function fill(database: string, rows: number, bytes: number): void {
  sqlite(
    database,
    `CREATE TABLE visits (page TEXT, note BLOB);
     WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < ${rows})
     INSERT INTO visits SELECT 'page ' || i, randomblob(${bytes}) FROM n;`,
  );
}

it("copies a database from one runner to another, and leaves the copy as it was where either side fails", async () => {
  await using rig = new Rig();
  await rig.pairedRunner("production");
  await rig.pairedRunner("staging");
  const [database, copy] = [join(rig.folder, "it's live.db"), join(rig.folder, "copy.db")];
  fill(database, 5_000, 200);
  const places = { source: "production", target: "staging", copy };
  const copied = await runRecipe(rig, "database-dump", { ...places, database });
  expect([copied.code, copied.jobs["dump"]?.output]).toEqual([0, { tables: 1 }]);
  const all = "SELECT count(*), sum(length(note)), hex(max(note)) FROM visits";
  expect(sqlite(copy, all)).toBe(sqlite(database, all));
  expect(sqlite(copy, all)).toMatch(/^5000\|1000000\|/);

  const before = readFileSync(copy);
  const damaged = readFileSync(database);
  damaged.fill(0xff, Math.floor(damaged.length / 2), Math.floor(damaged.length / 2) + 8_192);
  const broken = join(rig.folder, "broken.db");
  writeFileSync(broken, damaged);
  for (const [what, params] of Object.entries({
    damaged: { ...places, database: broken },
    missing: { ...places, database: join(rig.folder, "none.db") },
    unwritable: { ...places, database, copy: join(rig.folder, "no folder", "copy.db") },
  })) {
    const { code, jobs } = await runRecipe(rig, "database-dump", params);
    expect({ what, code, outcome: jobs["dump"]?.outcome }).toEqual({ what, code: 1, outcome: "failed" });
    expect(jobs["dump"]?.message).toMatch(what === "damaged" ? /is damaged: / : /sqlite3 .*: exit \d+/);
    expect([readFileSync(copy).equals(before), existsSync(`${copy}.new`)]).toEqual([true, false]);
  }
  // Four runs, of many commands each.
}, 120_000);

it("leaves the copy as it was when the dump is killed in its middle", async () => {
  await using rig = new Rig();
  const [database, copy] = [join(rig.folder, "large.db"), join(rig.folder, "copy.db")];
  fill(database, 20_000, 2_000);
  writeFileSync(copy, "what was there");
  const live = rig.spawnCoordinator(["run", "recipes/database-dump.ts", ...setOf({ database, copy })]);
  const isSource = (): number[] => processesOf(`${database}\0.dump`);
  const [source] = await until(isSource, (pids) => pids.length > 0);
  if (source === undefined) throw new Error("no dump was seen");
  // It waits whenever it is looked at, so that it cannot be over before.
  const isBegun = (): boolean => {
    process.kill(source, "SIGSTOP");
    if (existsSync(`${copy}.new`)) return true;
    process.kill(source, "SIGCONT");
    return false;
  };
  expect(await until(isBegun, Boolean)).toBe(true);
  process.kill(source, "SIGKILL");
  const { code, text } = await live.ended;
  expect([code, text]).toEqual([1, expect.stringMatching(/✖ failed: sqlite3 .* \.dump: (exit 137|.*KILL)/)]);
  expect([readFileSync(copy, "utf8"), existsSync(`${copy}.new`)]).toEqual(["what was there", false]);
});

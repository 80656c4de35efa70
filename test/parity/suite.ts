// Runs the cases at one backend, and compares its column of the table in docs/backends.md with what was seen. With
// SORTIE_WRITE_PARITY set the column is written instead.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { JobRequest } from "../../protocol/messages.ts";
import { admitAll } from "../../runner/admission.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper, type KeeperLink } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { root } from "../rig/rig.ts";
import { type BackendName, type Case, cases } from "./cases.ts";
import { type Place, placeOf } from "./place.ts";
import { readColumn, writeColumn } from "./table.ts";

const YES = "yes";
const PAGE = join(root, "docs/backends.md");

const forOthers = (one: Case): Case[] =>
  one.thorough === undefined ? [one] : one.thorough === true ? [] : [one.thorough];

/**
 * `open` gives what makes a job one of this backend, once the real part it needs is there. A `label` is that of another
 * engine or login: the same promises, less thoroughly, and no column of its own.
 */
export function paritySuite(name: BackendName, open: () => Promise<Partial<JobRequest>>, label?: string): void {
  describe(`a job, ${label ?? name}`, () => {
    const folder = mkdtempSync(join(tmpdir(), "sortie-parity-"));
    const column = new Map<string, string>();
    const logged: string[] = [];
    let keeper: KeeperLink;
    let runner: Runner;
    let place: Place;
    beforeAll(async () => {
      process.env["SORTIE_PARITY_SECRET"] = "the runner's own";
      keeper = await embeddedKeeper(folder, (line) => logged.push(line));
      runner = await createRunner({
        name: "w1",
        labels: {},
        slots: 64,
        admission: admitAll,
        leaseMs: 60_000,
        journals: defaultJournalLimits,
        keeper,
      });
      place = placeOf(runner, await open());
    });
    afterAll(async () => {
      await runner.close();
      rmSync(folder, { recursive: true, force: true });
      expect(logged).toEqual([]);
      // A run of single cases knows nothing of the others.
      if (label !== undefined || column.size < cases.length) return;
      if (process.env["SORTIE_WRITE_PARITY"])
        writeFileSync(PAGE, writeColumn(readFileSync(PAGE, "utf8"), name, column));
      expect(readColumn(readFileSync(PAGE, "utf8"), name)).toEqual(column);
    });

    for (const { title, run, promised, but } of label === undefined ? cases : cases.flatMap(forOthers))
      it(`has ${title}`, { timeout: 180_000 }, async () => {
        const seen = await run(place);
        const instead = but?.[name];
        expect(seen).toEqual(instead ? instead.seen : promised);
        column.set(title, instead?.says ?? YES);
      });
  });
}

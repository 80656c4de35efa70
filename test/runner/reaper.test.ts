// What jobs left where nothing answered: looked for again until it is ended, by the keeper that lives and the one after it.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import type { Backends } from "../../runner/keeper/backends/index.ts";
import { findMarks, setMark } from "../../runner/keeper/marks.ts";
import { reaper } from "../../runner/keeper/reaper.ts";
import { until } from "../rig/rig.ts";

let work: string;
beforeEach(() => {
  work = mkdtempSync(join(tmpdir(), "sortie-reaper-"));
});
afterEach(() => rmSync(work, { recursive: true }));

/** An engine that answers only after so many times. */
function failing(times: number) {
  const asked: string[] = [];
  const backend = {
    isLocal: () => false,
    async reap(attempt: string, mark: string) {
      asked.push(`${attempt} ${mark}`);
      if (asked.length <= times) throw new Error("no answer");
    },
  } as unknown as Backends;
  return { asked, backend };
}

describe("what a job left where nothing answered", () => {
  it("is looked for again until it is ended, and then forgotten with its directory", async () => {
    const attempt = newAttemptId();
    setMark(work, attempt, "container before");
    setMark(work, attempt, "container engine");
    mkdirSync(join(work, attempt));
    writeFileSync(join(work, attempt, "file"), "");
    const { asked, backend } = failing(2);
    const said: string[] = [];
    const reaping = reaper(work, backend, (line) => said.push(line), 10);
    expect(
      await until(
        () => readdirSync(work),
        (names) => names.length === 0,
      ),
    ).toEqual([]);
    expect(asked).toEqual(Array.from({ length: 3 }, () => `${attempt} container engine`));
    expect(said).toEqual(Array.from({ length: 2 }, () => `what ${attempt} left cannot be ended yet: no answer`));
    await reaping.close();
  });

  it("is looked for when it is added by a keeper that lives, and left to the next one when that leaves", async () => {
    const { asked, backend } = failing(Number.POSITIVE_INFINITY);
    const first = reaper(work, backend, () => {}, 10);
    const attempt = newAttemptId();
    setMark(work, attempt, "ssh host");
    first.add(attempt);
    await until(
      () => asked.length,
      (count) => count > 1,
    );
    await first.close();
    const before = asked.length;
    expect([...findMarks(work)]).toEqual([[attempt, "ssh host"]]);
    const good = failing(0);
    const next = reaper(work, good.backend, () => {}, 10);
    await next.close();
    expect(good.asked).toEqual([`${attempt} ssh host`]);
    expect(existsSync(join(work, `${attempt}.mark`))).toBe(false);
    expect(asked.length).toBe(before);
  });

  it("does not come back for a job that is still running", async () => {
    const { asked, backend } = failing(0);
    const reaping = reaper(work, backend, () => {}, 5);
    const attempt = newAttemptId();
    setMark(work, attempt, "container engine");
    await new Promise((resolve) => setTimeout(resolve, 40));
    expect(asked).toEqual([]);
    await reaping.close();
  });
});

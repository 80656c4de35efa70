// What a job started is found and ended also while it is being made another program, when the kernel does not tell its variables.
import { spawn } from "node:child_process";
import { chmodSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { newAttemptId } from "../../protocol/ids.ts";
import { killGroupNow, killMarked, killTree, MARKER } from "../../runner/keeper/process-tree.ts";
import { testFolder } from "../rig/peers.ts";
import { isRunning } from "../rig/processes.ts";
import { until } from "../rig/rig.ts";

/** A look that tells nothing of what is being executed misses it about once in thirty times. */
const ROUNDS = 60;
const TREES = 20;

/** A process of the attempt, in a group of its own. */
function started(attempt: string, program: string, ...args: string[]): number {
  const env = { PATH: process.env["PATH"], [MARKER]: attempt };
  const child = spawn(program, args, { env, detached: true, stdio: "ignore" });
  const { pid = 0 } = child;
  expect(pid).toBeGreaterThan(0);
  onTestFinished(() => {
    // The number of one that has ended may be another's by now.
    if (child.exitCode === null && child.signalCode === null) killGroupNow(pid);
  });
  return pid;
}

/** A program that does nothing but become itself again. */
function restless(): string {
  const path = join(testFolder(), "restless");
  writeFileSync(path, '#!/bin/sh\nexec "$0"\n');
  chmodSync(path, 0o755);
  return path;
}

const hasGone = (pid: number): Promise<boolean> =>
  until(
    () => !isRunning(pid),
    (gone) => gone,
  );

describe.runIf(process.platform === "linux")("a process that is being executed", () => {
  it("is ended with what else its attempt left", async () => {
    const program = restless();
    for (let round = 0; round < ROUNDS; round++) {
      const attempt = newAttemptId();
      const pid = started(attempt, program);
      await killMarked(new Set([attempt]));
      expect(await hasGone(pid)).toBe(true);
    }
  });

  it("gets TERM, which comes to all of a tree, and not KILL after the grace", async () => {
    const program = restless();
    for (let round = 0; round < TREES; round++) {
      const attempt = newAttemptId();
      const group = started(attempt, "sleep", "4967");
      const pid = started(attempt, program);
      const { ended, survivors } = await killTree({ mark: `${MARKER}=${attempt}`, group, control: undefined }, 60_000);
      expect([ended.every(({ by }) => by === "TERM"), survivors]).toEqual([true, []]);
      expect(await hasGone(pid)).toBe(true);
    }
  });
});

// Other readers of a round: one that follows a job's log and is stopped in the middle, and a single command whose output
// is read byte by byte.
import { setTimeout as delay } from "node:timers/promises";
import { exitCodeOf } from "../../protocol/exit.ts";
import type { Ended, Live } from "../rig/rig.ts";
import type { Circumstances } from "./check.ts";
import type { Figures } from "./figures.ts";
import { type Output, outputOf } from "./output.ts";
import { program } from "./plan.ts";
import { SILENCE, type Site } from "./site.ts";

const STALL_MS = 1_500;
const BYTE_EVERY_MS = 1_000;

/** `coordinator logs -f` of a job, stopped for a while. */
export async function stalledReader(site: Site, run: string, job: string): Promise<Ended> {
  const live = site.rig.spawnCoordinator(["logs", "-f", `${run}/${job}`, "--raw"]);
  live.child.stdin.end();
  await delay(300);
  live.child.kill("SIGSTOP");
  await delay(STALL_MS);
  live.child.kill("SIGCONT");
  return live.ended;
}

export interface SlowCommand {
  /** Once something of it was seen. */
  readonly begun: Promise<unknown>;
  readonly ended: Promise<Ended>;
  readonly seed: number;
}

/** `coordinator exec`; three bytes of its stdout are read, one a second, before the rest. */
export function slowCommand(site: Site, seed: number): SlowCommand {
  const args = ["exec", "w1", "--silence-after", SILENCE, "--stdin=false", "--", ...program(seed)];
  const live: Live = site.rig.spawnCoordinator(args);
  const { stdout } = live.child;
  stdout.pause();
  live.child.stdin.end();
  const seen = new Promise((resolve) => {
    stdout.once("readable", resolve);
    live.child.stderr.once("data", resolve);
    live.child.once("exit", resolve);
  });
  const reading = (async () => {
    await seen;
    for (let count = 0; count < 3 && live.child.exitCode === null; count++) {
      // Also in a paused stream, what is read by hand is told as data.
      stdout.read(1);
      await delay(BYTE_EVERY_MS);
    }
    stdout.removeAllListeners("readable");
    stdout.resume();
  })();
  return { begun: seen, ended: reading.then(() => live.ended), seed };
}

/** What a reader got: all of it; or, where it could not have all, the beginning. */
export function checkReader(got: Buffer, { stdout }: Output, whole: boolean, what: string, figures: Figures): void {
  figures.bytes += got.length;
  if (whole ? got.equals(stdout) : got.equals(stdout.subarray(0, got.length))) return;
  figures.wrong(`${what} read ${got.length} bytes of ${stdout.length}${whole ? "" : ", and others"}`);
}

export function checkCommand(
  { code, stdout, stderr }: Ended,
  seed: number,
  why: Circumstances,
  figures: Figures,
): void {
  const output = outputOf(seed);
  const bytes = { stdout: output.stdout.length, stderr: output.stderr.length };
  const expected =
    "code" in output.end
      ? output.end.code
      : exitCodeOf({ type: "exit", reason: "signaled", code: null, signal: output.end.signal, bytes });
  // It may have more than the journal of a keeper whose disk was full, which may not even have its exit.
  const told = why.runnerWasFull ? /sortie: lost|error\[(OFFSET_GONE|NOT_FOUND)\]/ : /sortie: lost/;
  const isLost = why.keeperKills > 0 && code === 125 && told.test(stderr);
  checkReader(stdout, output, !isLost, "exec", figures);
  if (!isLost && code !== expected) figures.wrong(`exec exited ${code}, not ${expected}: ${stderr.slice(-300)}`);
}

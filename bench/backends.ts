// Each backend against its own command line, on a warm runner: a job of `true` from the call to its exit, and 1 GiB out
// of a job. The runner is a real one over libp2p; the peer is `sh -c` started by execa, `docker run --rm`, and `ssh` over a
// connection that is kept open.
import { execa } from "execa";
import { startAttempt } from "../coordinator/attempt.ts";
import { openFleet, type RunnerLink } from "../coordinator/fleet.ts";
import type { Command } from "../protocol/command.ts";
import { passed } from "../protocol/exit.ts";
import { homeOf } from "../protocol/home.ts";
import { newAttemptId, newRunId } from "../protocol/ids.ts";
import type { JobRequest } from "../protocol/messages.ts";
import { type Bench, median } from "./rig.ts";

const STARTS = 40;
const ROUNDS = 3;
const BYTES = 1024 ** 3;
const TRUE: Command = { shell: "true" };
const FLOOD: Command = { shell: `head -c ${BYTES} /dev/zero` };

interface Backend {
  readonly name: string;
  readonly job: Partial<JobRequest>;
  /** argv of its own command line for a shell command. */
  peer(script: string): readonly string[];
  readonly starts: number;
}

/** Gives each line once it is measured. */
export async function* backends(bench: Bench): AsyncGenerator<[name: string, text: string]> {
  const fleet = openFleet(homeOf("coordinator"));
  const link = fleet.link(fleet.trust.find("w1"));
  const list: Backend[] = [
    { name: "local, against execa", job: {}, peer: (script) => ["/bin/sh", "-c", script], starts: 5 * STARTS },
    {
      name: "container, against docker run --rm",
      job: { container: bench.container },
      peer: (script) => ["docker", "run", "--rm", "--network", "none", bench.container.image, "/bin/sh", "-c", script],
      starts: STARTS,
    },
    {
      name: "ssh, against ssh multiplexed",
      job: { ssh: { host: "target" } },
      peer: (script) => bench.sshMultiplexed(script),
      starts: 5 * STARTS,
    },
  ];
  try {
    for (const { name, job, peer, starts } of list) {
      const start = await inTurn(
        () => ours(link, job, TRUE),
        () => theirs(peer("true")),
        starts,
      );
      yield [
        `true, ${name}`,
        `${start.ours.toFixed(1)} / ${start.theirs.toFixed(1)} ms = ${start.ratio.toFixed(2)} (less is better)`,
      ];
      const flood = await inTurn(
        () => ours(link, job, FLOOD),
        () => theirs(peer(`head -c ${BYTES} /dev/zero`)),
        ROUNDS,
      );
      const speed = (ms: number): string => (BYTES / 1024 ** 2 / (ms / 1000)).toFixed(0);
      yield [
        `1 GiB out, ${name}`,
        `${speed(flood.ours)} / ${speed(flood.theirs)} MiB/s = ${(1 / flood.ratio).toFixed(2)} (more is better)`,
      ];
    }
  } finally {
    await fleet.close();
  }
}

/** Milliseconds, medians, after a round of each that is not counted. */
async function inTurn(ours: () => Promise<number>, theirs: () => Promise<number>, rounds: number) {
  await ours();
  await theirs();
  const pairs: { ours: number; theirs: number }[] = [];
  for (let round = 0; round < rounds; round++) pairs.push({ ours: await ours(), theirs: await theirs() });
  return {
    ours: median(pairs.map((pair) => pair.ours)),
    theirs: median(pairs.map((pair) => pair.theirs)),
    ratio: median(pairs.map((pair) => pair.ours / pair.theirs)),
  };
}

async function ours(link: RunnerLink, job: Partial<JobRequest>, command: Command): Promise<number> {
  const began = performance.now();
  const attemptId = newAttemptId();
  const request: JobRequest = {
    attemptId,
    run: newRunId(),
    job: "bench" as JobRequest["job"],
    attempt: 1,
    steps: [command],
    env: [],
    graceMs: 1_000,
    stdin: false,
    ...job,
  };
  const attempt = await startAttempt({
    link,
    attemptId,
    request,
    reconnectMs: 1_000,
    sink: { store() {}, output() {} },
  });
  const { exit, gap } = await attempt.end;
  if (!passed(exit) || gap !== undefined) throw new Error(`the job did not pass: ${JSON.stringify(exit)} ${gap ?? ""}`);
  return performance.now() - began;
}

/** What it writes is read here, as ours is, and thrown away. */
async function theirs([program = "", ...args]: readonly string[]): Promise<number> {
  const began = performance.now();
  const child = execa(program, args, { buffer: false, stdin: "ignore", stdout: "pipe", stderr: "inherit" });
  child.nodeChildProcess.stdout?.resume();
  await child;
  return performance.now() - began;
}

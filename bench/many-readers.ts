// What fifty readers of one job, one of them stalled, cost the job: how long it takes to write what it writes, as its own
// clock tells, without them and with them.
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { type Bench, median, root } from "./rig.ts";

const BYTES = 256 * 1024 * 1024;
const READERS = 50;
const ROUNDS = 3;

export async function manyReaders(bench: Bench): Promise<string> {
  const file = join(bench.folder, "readers-data");
  execFileSync("sh", ["-c", `head -c ${BYTES} /dev/urandom > ${file}`]);
  const without: number[] = [];
  const withThem: number[] = [];
  for (let round = 0; round <= ROUNDS; round++) {
    const alone = await jobSeconds(bench, file, 0);
    const read = await jobSeconds(bench, file, READERS);
    // The first round warms up.
    if (round > 0) {
      without.push(alone);
      withThem.push(read);
    }
  }
  const ratio = median(withThem.map((seconds, round) => seconds / (without[round] as number)));
  return `the job took ${median(withThem).toFixed(2)} / ${median(without).toFixed(2)} s = ${ratio.toFixed(2)} (1.10 is the bar)`;
}

/** Seconds from the job's first byte to its last, by its own clock. It begins when its readers are there. */
async function jobSeconds(bench: Bench, file: string, readers: number): Promise<number> {
  const script = 'read line; a=$(date +%s%N); cat "$0"; b=$(date +%s%N); echo $((b-a)) >&2';
  const [program = "", ...args] = bench.coordinator("exec", "w1", "--", "sh", "-c", script, file);
  const job = spawn(program, args, { stdio: ["pipe", "ignore", "pipe"] });
  let said = "";
  job.stderr.on("data", (bytes) => {
    said += bytes;
  });
  const watching = spawn(process.execPath, [join(root, "bench/readers.ts"), String(readers)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  if (readers > 0) await once(watching.stdout, "data");
  job.stdin.end("go\n");
  await once(job, "exit");
  watching.kill("SIGTERM");
  return Number(said.trim()) / 1e9;
}

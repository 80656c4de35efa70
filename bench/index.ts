// `npm run bench`: Sortie against ssh, GNU parallel and zx on this machine, each pair in turn, as ratios. Needs sshd, ssh and
// parallel; takes about six minutes. What to expect, and what it means, is in docs/speed.md.
import { execFileSync, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { backends } from "./backends.ts";
import { firstByte } from "./first-byte.ts";
import { keeperSplit } from "./keeper-split.ts";
import { manyReaders } from "./many-readers.ts";
import { compare, openBench, residentMiB, root, time } from "./rig.ts";
import { scheduleAtSize } from "./schedule.ts";
import { secretsCost } from "./secrets.ts";

const GIB = 1024 ** 3;
const JOBS = 1_000;
const AT_ONCE = 8;

execFileSync(process.execPath, [join(root, "scripts/build.ts"), "--no-types"], { stdio: "inherit" });
const only = process.argv.slice(2);
const wanted = (name: string): boolean => only.length === 0 || only.includes(name);
const line = (name: string, text: string): void => console.log(`${name.padEnd(34)} ${text}`);
const ms = (seconds: number): string => `${(seconds * 1000).toFixed(0)} ms`;
if (wanted("first-byte")) for await (const [name, text] of firstByte()) line(name, text);
if (only.join() === "first-byte") process.exit(0);
const bench = await openBench(AT_ONCE);

try {
  const idle = { front: residentMiB(bench.runnerPid), keeper: residentMiB(bench.keeperPid) };
  if (wanted("cold")) {
    const { ours, theirs, ratio } = compare(
      () => time(bench.coordinator("exec", "w1", "--", "true")),
      () => time(bench.ssh("true")),
      15,
    );
    line("cold exec of true, against ssh", `${ms(ours)} / ${ms(theirs)} = ${ratio.toFixed(2)} (less is better)`);
  }
  if (wanted("jobs")) {
    const recipe = bench.recipe(`import { job, recipe } from "sortie";
      export default recipe(Object.fromEntries(Array.from({ length: ${JOBS} }, (_, index) => [\`j\${index}\`, job({ run: ["true"] })])));`);
    const each = bench.sshMultiplexed("true").join(" ");
    time(bench.sshMultiplexed("true"));
    const parallel = ["sh", "-c", `seq ${JOBS} | parallel -j ${AT_ONCE} -n0 ${each}`];
    const { ours, theirs, ratio } = compare(
      () => time(bench.coordinator("run", recipe)),
      () => time(parallel),
      3,
    );
    line(
      `${JOBS} jobs, against parallel over ssh`,
      `${(JOBS / ours).toFixed(0)} / ${(JOBS / theirs).toFixed(0)} jobs a second = ${(1 / ratio).toFixed(2)} (more is better)`,
    );
  }
  if (wanted("pipe")) {
    const file = join(bench.folder, "data");
    execFileSync("sh", ["-c", `head -c ${GIB} /dev/urandom > ${file}`]);
    const out = compare(
      () => time(bench.coordinator("exec", "w1", "--stdin=false", "--", "cat", file)),
      () => time(bench.ssh("cat", file)),
      3,
    );
    line(
      "1 GiB out of a job, against ssh",
      `${(1024 / out.ours).toFixed(0)} / ${(1024 / out.theirs).toFixed(0)} MiB/s = ${(1 / out.ratio).toFixed(2)} (more is better)`,
    );
    const fed = (argv: readonly string[]) => () => {
      const descriptor = openSync(file, "r");
      try {
        return time(argv, descriptor);
      } finally {
        closeSync(descriptor);
      }
    };
    const into = compare(
      fed(bench.coordinator("exec", "w1", "--", "sh", "-c", "cat > /dev/null")),
      fed(bench.ssh("cat > /dev/null")),
      3,
    );
    line(
      "1 GiB into a job, against ssh",
      `${(1024 / into.ours).toFixed(0)} / ${(1024 / into.theirs).toFixed(0)} MiB/s = ${(1 / into.ratio).toFixed(2)} (more is better)`,
    );
  }
  if (wanted("backends")) for await (const [name, text] of backends(bench)) line(name, text);
  if (wanted("slow-reader")) await slowReader(4 * GIB, 5_000_000);
  if (wanted("readers")) line("50 readers, one of them stalled", await manyReaders(bench));
  if (wanted("secrets")) line(`text of a job with two secrets, against none`, await secretsCost(bench));
  if (wanted("schedule")) for await (const [name, text] of scheduleAtSize()) line(name, text);
  if (wanted("split")) for (const [name, text] of await keeperSplit()) line(name, text);
  line("memory of an idle runner", `front ${idle.front.toFixed(0)}, keeper ${idle.keeper.toFixed(0)} MiB`);
} finally {
  await bench.close();
}

/** A job that could write 4 GiB at once, and a reader that takes 5 MB a second for a minute: what piles up, and where. */
async function slowReader(bytes: number, bytesPerSecond: number): Promise<void> {
  const [program = "", ...args] = bench.coordinator(
    "exec",
    "w1",
    "--stdin=false",
    "--",
    "head",
    "-c",
    String(bytes),
    "/dev/zero",
  );
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  const samples: { front: number; keeper: number; coordinator: number }[] = [];
  const began = performance.now();
  let read = 0;
  for await (const piece of child.stdout) {
    read += (piece as Buffer).length;
    const elapsed = performance.now() - began;
    if (elapsed > 60_000) break;
    // The first seconds fill what may be filled; from then on nothing may grow.
    if (elapsed > 5_000)
      samples.push({
        front: residentMiB(bench.runnerPid),
        keeper: residentMiB(bench.keeperPid),
        coordinator: residentMiB(child.pid as number),
      });
    await new Promise((resolve) => setTimeout(resolve, Math.max(0, (read / bytesPerSecond) * 1000 - elapsed)));
  }
  child.kill("SIGINT");
  await new Promise((resolve) => child.once("exit", resolve));
  const range = (side: "front" | "keeper" | "coordinator"): string => {
    const values = samples.map((sample) => sample[side]);
    return `${side} ${Math.min(...values).toFixed(0)} to ${Math.max(...values).toFixed(0)} MiB`;
  };
  line(
    "a reader of 5 MB/s, for a minute",
    `${range("front")}, ${range("keeper")}, ${range("coordinator")}, ${(read / 1e6).toFixed(0)} MB read`,
  );
}

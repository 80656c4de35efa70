// What it costs that a job has secrets: the same text through the same runner, with the runner and the coordinator looking for
// them and without.

import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { join } from "node:path";
import { compare, type openBench, time } from "./rig.ts";

const MIB = 256;

/** A line of the report. */
export async function secretsCost(bench: Awaited<ReturnType<typeof openBench>>): Promise<string> {
  const file = join(bench.folder, "text");
  const out = createWriteStream(file);
  const lines = Array.from(
    { length: 16_384 },
    (_, index) => `line ${index} of a build log, with a path /srv/app/${index}`,
  );
  const piece = `${lines.map((line) => line.padEnd(63)).join("\n")}\n`;
  for (let at = 0; at < MIB; at++) if (!out.write(piece)) await once(out, "drain");
  out.end();
  await once(out, "finish");
  // From one command to another: no view is on the way, which is slower than either.
  const run = (options: string): number => {
    const recipe = bench.recipe(`import { job, recipe, secret } from "sortie";
      export default recipe({ cat: job({ ${options} run: async ({ $ }) => {
        await $(["cat", ${JSON.stringify(file)}]).pipe($\`cat > /dev/null\`);
      } }) });`);
    return time(bench.coordinator("run", recipe));
  };
  const key = [
    "-----BEGIN KEY-----",
    ...Array.from({ length: 25 }, (_, at) => Buffer.alloc(48, at).toString("base64")),
    "-----END",
  ];
  const command = (text: string): string => `secret({ command: ["printf", "%s", ${JSON.stringify(text)}] })`;
  const hidden = `env: { TOKEN: ${command("correct-horse-battery")}, KEY: ${command(key.join("\n"))} },`;
  const { ours, theirs, ratio } = compare(
    () => run(hidden),
    () => run(""),
    3,
  );
  const rate = (seconds: number): string => (MIB / seconds).toFixed(0);
  return `${rate(ours)} / ${rate(theirs)} MiB/s = ${(1 / ratio).toFixed(2)} (more is better)`;
}

// `npm run chaos -- --rounds N --seed S`: real runners and coordinators against faults that the seed decides. Exits 1
// where anything was lost, repeated or left behind; `--seed S --rounds 1` plays the round of that seed again.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { play } from "./play.ts";

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "100" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    "no-build": { type: "boolean", default: false },
  },
});
if (!values["no-build"])
  execFileSync(process.execPath, [join(import.meta.dirname, "../../scripts/build.ts"), "--no-types"], {
    stdio: "inherit",
  });
console.log(`${values.rounds} rounds from seed ${values.seed}`);
const figures = await play({ rounds: Number(values.rounds), seed: Number(values.seed), say: console.log });
console.log(`\n${figures}`);
process.exitCode = figures.problems.length === 0 ? 0 : 1;

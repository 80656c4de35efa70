// `npm run fuzz -- --seconds N --seed S`: what a hostile peer may send, over real connections, to a real runner; and what a
// hostile runner may send to a coordinator. Exits 1 after a crash, a hang or a leak.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { fuzz } from "./play.ts";

const { values } = parseArgs({
  options: {
    seconds: { type: "string", default: "60" },
    seed: { type: "string", default: String(Math.floor(Math.random() * 2 ** 31)) },
    "no-build": { type: "boolean", default: false },
  },
});
if (!values["no-build"])
  execFileSync(process.execPath, [join(import.meta.dirname, "../../scripts/build.ts"), "--no-types"], {
    stdio: "inherit",
  });
console.log(`${values.seconds} seconds from seed ${values.seed}`);
const figures = await fuzz({ seconds: Number(values.seconds), seed: Number(values.seed), say: console.log });
console.log(`\n${figures}`);
process.exit(figures.problems.length === 0 ? 0 : 1);

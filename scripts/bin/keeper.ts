// What `runner start` starts beside itself: the process that keeps the jobs.
import { begin } from "./begin.ts";

begin();
const { runKeeper } = await import("../../runner/keeper/keeper-process.ts");
const [folder, audit] = process.argv.slice(2);
if (folder === undefined) throw new Error("the keeper needs its folder");
await runKeeper(folder, { audit });
process.exit(0);

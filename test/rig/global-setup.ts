// Builds the commands once before the tests, and ends the container engines that they started.
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { prepareEngines } from "./engine.ts";

export default function setup(): () => Promise<void> {
  const build = join(import.meta.dirname, "../../scripts/build.ts");
  execFileSync(process.execPath, [build], { stdio: "inherit" });
  return prepareEngines();
}

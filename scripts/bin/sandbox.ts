// What `coordinator run --sandbox` starts beside itself: the process that a recipe's code runs in.
import { runSandboxed } from "../../coordinator/sandbox/child.ts";

// The coordinator is gone, or wants no more of it.
await runSandboxed().catch(() => {});
process.exit(0);

import { join } from "node:path";
import { defineConfig } from "vitest/config";
import { LongFirst } from "./test/rig/long-first.ts";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // The tests run the built commands, so the build is made of the sources as they are.
    globalSetup: ["test/rig/global-setup.ts"],
    // The commands under test keep their compiled code here, and not in the home of whoever runs the tests.
    env: { XDG_CACHE_HOME: join(import.meta.dirname, "node_modules/.cache") },
    testTimeout: 60_000,
    hookTimeout: 60_000,
    // An engine that is slow to end has its time, too: what is left of it would be there in the next run.
    teardownTimeout: 60_000,
    // A second is too little for a loaded machine.
    expect: { poll: { timeout: 30_000 } },
    allowOnly: false,
    // One more than two cores: many files wait for times and limits.
    maxWorkers: 3,
    sequence: { sequencer: LongFirst },
    reporters: [
      "default",
      "./test/abuse/count.ts",
      ...(process.env["SORTIE_TEST_REPORT"]
        ? [["json", { outputFile: process.env["SORTIE_TEST_REPORT"] }] as [string, { outputFile: string }]]
        : []),
    ],
  },
});

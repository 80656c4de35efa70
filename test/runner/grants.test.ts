import { describe, expect, it } from "vitest";
import type { Command } from "../../protocol/command.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { decide } from "../../runner/grants.ts";

const request = (...steps: Command[]): JobRequest => ({
  attemptId: newAttemptId(),
  run: newRunId(),
  job: "job" as JobName,
  attempt: 1,
  steps,
  env: [],
  graceMs: 0,
  stdin: false,
});

describe("grants", () => {
  it("allow nothing that they do not name, and tell the program and the flag", () => {
    expect(decide({ all: false }, request({ argv: ["/bin/true"] }))).toEqual({
      allowed: false,
      message: 'The runner was not told to let anybody run "/bin/true".',
      flag: "--allow-all",
    });
    expect(decide({ all: false }, request({ shell: "true" }))).toMatchObject({ allowed: false, flag: "--allow-all" });
  });

  it("never repeat a shell command, which may hold anything", () => {
    expect(JSON.stringify(decide({ all: false }, request({ shell: "echo hunter2" })))).not.toContain("hunter2");
  });

  it("allow everything where they were told to", () => {
    expect(decide({ all: true }, request({ argv: ["true"] }, { shell: "true" }))).toEqual({ allowed: true });
  });
});

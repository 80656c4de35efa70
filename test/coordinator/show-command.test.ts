// `coordinator show` as a process, on a record that the test itself writes.
import { join } from "node:path";
import { expect, it } from "vitest";
import { openStore } from "../../coordinator/store/store.ts";
import type { Exit } from "../../protocol/exit.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { Rig } from "../rig/rig.ts";

const bytes = { stdout: 0, stderr: 0 };

/** What show prints of a run whose jobs ended so; `--json` gives the exits back. */
async function shown(exits: Readonly<Record<string, Exit>>): Promise<{ text: string; json: { jobs: unknown[] } }> {
  await using rig = new Rig();
  const store = openStore(join(rig.home, "coordinator"));
  const reader = store.reader();
  const run = newRunId();
  const jobs = Object.keys(exits).map((name) => ({ name: name as JobName, needs: [] }));
  reader.on({ type: "run-started", at: 1, run, recipe: "a.ts", jobs });
  for (const { name: job } of jobs) {
    const attemptId = newAttemptId();
    reader.on({ type: "job-dispatched", at: 2, job, attempt: 1, attemptId, runner: "w1", runnerId: "12D3KooW" });
    reader.on({ type: "job-ended", at: 3, job, outcome: "failed", exit: exits[job] as Exit, durationMs: 1 });
  }
  reader.on({ type: "run-ended", at: 4, run, outcome: "failed", durationMs: 3 });
  store.close();
  const { text } = await rig.coordinator(["show", "last"]);
  return { text, json: JSON.parse((await rig.coordinator(["show", "last", "--json"])).text) };
}

it("show tells what a cancellation ended and what it could not, and nothing where there was none", async () => {
  const stopped: Exit = {
    ...{ type: "exit", reason: "cancelled", by: "user", code: null, signal: "TERM", bytes },
    ending: {
      ended: [
        { pid: 10, name: "sh", by: "TERM" },
        { pid: 11, name: "deaf\u001b[2J", by: "KILL" },
      ],
      survivors: [{ pid: 12, name: "dd" }],
      more: 3,
    },
  };
  const { text, json } = await shown({
    stopped,
    quiet: { type: "exit", reason: "exited", code: 1, bytes },
    over: { ...{ type: "exit", reason: "timeout", timeoutMs: 5, code: null, signal: null, bytes } },
  });
  expect(text).toContain("cancelled by the user; could not be ended: dd (12)");
  expect(text.slice(text.indexOf("JOB ", text.indexOf("JOB ") + 1))).toBe(
    [
      "JOB      WHAT WAS ENDED",
      "stopped  sh (10) by TERM, deaf·[2J (11) by KILL, dd (12) could not be ended, 3 more\n",
    ].join("\n"),
  );
  expect(json.jobs[0]).toMatchObject({ attempts: [{ exit: stopped }] });
});

it("show says where an exit may have been a signal, which a container's engine does not tell", async () => {
  const exit: Exit = { type: "exit", reason: "exited", code: 137, ambiguous: true, bytes };
  const { text, json } = await shown({ contained: exit });
  expect(text).toContain("exit 137, or killed by KILL");
  expect(text).not.toContain("WHAT WAS ENDED");
  expect(json.jobs[0]).toMatchObject({ attempts: [{ exit }] });
});

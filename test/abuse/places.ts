// One runner in this process for attacks on where a job may run: its grants can be changed, and what it refuses is given as
// its coordinator is told it. containers.test.ts and ssh.test.ts use it.
import { join } from "node:path";
import { expect } from "vitest";
import type { SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { createAdmission } from "../../runner/admission.ts";
import { compile } from "../../runner/grants/decide.ts";
import type { ByKind } from "../../runner/grants/policy.ts";
import { defaultJournalLimits } from "../../runner/keeper/disk-budget.ts";
import { embeddedKeeper } from "../../runner/keeper/keeper-link.ts";
import { createRunner, type Runner } from "../../runner/runner.ts";
import { finish, type Read, request, startJob } from "../runner/calls.ts";

export interface Places {
  readonly runner: Runner;
  grant(allow: ByKind | true, deny?: ByKind): void;
  run(script: string, more: Partial<JobRequest>): Promise<Read>;
  /** What the coordinator is told, as one text; it has to be DENIED. */
  denied(more: Partial<JobRequest>): Promise<string>;
  /** Of a request that is none: the code. */
  malformed(more: Record<string, unknown>): Promise<string>;
  /** Whatever was tried, the runner goes on with what is granted. */
  goesOn(): Promise<void>;
  close(): Promise<void>;
}

export async function places(folder: string): Promise<Places> {
  let sections = [compile({ allow: {}, deny: {} }, "flags")];
  const keeper = await embeddedKeeper(join(folder, "keeper"));
  const admission = createAdmission({ name: "w1", sectionsFor: () => sections, keeper });
  const runner = await createRunner({
    ...{ name: "w1", labels: {}, slots: 8, admission, keeper, leaseMs: limits.leaseMs, journals: defaultJournalLimits },
  });
  const grant: Places["grant"] = (allow, deny = {}) => {
    sections = [compile({ allow, deny }, "flags")];
  };
  const run: Places["run"] = async (script, more) => finish(await startJob(runner, request(script, more)));
  const refused = (more: Partial<JobRequest>): Promise<SortieError> =>
    startJob(runner, request("true", more)).then(
      () => expect.fail("it was let in"),
      (error: SortieError) => error,
    );
  return {
    runner,
    grant,
    run,
    async denied(more) {
      const { code, message, hint } = await refused(more);
      expect(code).toBe("DENIED");
      return `${message} ${hint}`;
    },
    malformed: async (more) => (await refused(more as Partial<JobRequest>)).code,
    async goesOn() {
      grant({ shell: true });
      expect((await run("echo still", {})).stdout).toBe("still\n");
    },
    close: () => runner.close(),
  };
}

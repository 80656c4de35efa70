import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { limits } from "../../../protocol/limits.ts";
import type { JobRequest } from "../../../protocol/messages.ts";
import { type AdmissionOptions, createAdmission } from "../../../runner/admission.ts";
import { compile } from "../../../runner/grants/decide.ts";
import type { ByKind } from "../../../runner/grants/policy.ts";
import type { KeeperLink } from "../../../runner/keeper/keeper-link.ts";
import { embeddedKeeper } from "../../../runner/keeper/keeper-link.ts";
import { type Sshd, startSshd, whyNoSshd } from "../../rig/sshd.ts";
import { codeOf, jobFolder, request, testRunner } from "../calls.ts";
import { requestOf } from "../containers.ts";
import { drive } from "../driven-jobs.ts";

const policy = (allow: ByKind, deny: ByKind = {}) => [compile({ allow, deny }, "flags")];
const caller = { peer: "test", name: "test" };
const asked = (more: Partial<JobRequest>) => ({
  request: request("", more),
  window: limits.windowMinimum,
  holder: "one",
});
/** Of no driven job. */
const noKeeper: KeeperLink = {
  open: () => expect.fail("nobody asks for a place"),
  close: async () => {},
  kill: () => true,
};

/** Nobody leaves. */
const here = new AbortController().signal;

describe("an admission that asks", () => {
  const steps: JobRequest["steps"] = [{ argv: ["true"] }, { argv: ["false"] }];
  function asking(options: Partial<AdmissionOptions>) {
    const whats: string[] = [];
    const admission = createAdmission({
      ...{ name: "w1", keeper: noKeeper, sectionsFor: () => policy({ env: ["A"] }) },
      ask: async ({ want }) => {
        whats.push(want.what);
        return want.value === "true" ? "asked: once" : undefined;
      },
      ...options,
    });
    return { admission, whats };
  }

  it("asks for what no rule settles, one after the other, until the first no", async () => {
    const { admission, whats } = asking({});
    const twice = [{ argv: ["true"] }, ...steps, ...steps, { argv: ["echo"] }];
    expect(await codeOf(admission.admit(asked({ steps: twice }), caller, here))).toBe("DENIED");
    expect(whats).toEqual(['run "true"', 'run "false"']);
    const { request, rule } = await admission.admit(
      asked({ steps: steps.slice(0, 1), env: [["A", "1"]] }),
      caller,
      here,
    );
    expect(rule).toBe("flags: allow env=A; asked: once");
    expect(request.steps).toEqual([{ argv: [expect.stringMatching(/^\/.*\/true$/)] }]);
  });

  it("asks nothing where a rule denies a part", async () => {
    const { admission, whats } = asking({ sectionsFor: () => policy({}, { run: ["false"] }) });
    expect(await codeOf(admission.admit(asked({ steps }), caller, here))).toBe("DENIED");
    expect(whats).toEqual([]);
  });

  it("looks again at what was allowed before the question, and at what denies by now", async () => {
    for (const after of [policy({}), policy({ env: ["A"] }, { run: true })]) {
      let sections = policy({ env: ["A"] });
      const { admission } = asking({
        sectionsFor: () => sections,
        async ask() {
          sections = after;
          return "asked: once";
        },
      });
      const wanted = asked({ steps: steps.slice(0, 1), env: [["A", "1"]] });
      expect(await codeOf(admission.admit(wanted, caller, here))).toBe("DENIED");
    }
  });

  it("confines containers by what holds once it was answered", async () => {
    let sections = policy({ network: ["bridge"] });
    const { admission } = asking({
      sectionsFor: () => sections,
      async ask() {
        sections = policy({});
        return "asked: once";
      },
    });
    const { confine } = await admission.admit(asked({ container: requestOf().container }), caller, here);
    expect(confine?.network).toBe("none");
  });

  it("does not ask where it only audits", async () => {
    const missing: string[] = [];
    const { admission, whats } = asking({
      onlyAudit: (wants) => void missing.push(...wants.map(({ what }) => what)),
    });
    expect(await codeOf(admission.admit(asked({ steps: steps.slice(0, 1), env: [["A", "1"]] }), caller, here))).toBe(
      "DENIED",
    );
    expect([missing, whats]).toEqual([['run "true"'], []]);
  });
});

const why = whyNoSshd();
describe.skipIf(why !== undefined)("commands of a function", () => {
  let sshd: Sshd;
  beforeAll(async () => {
    sshd = await startSshd();
    process.env["SORTIE_SSH_CONFIG"] = sshd.config;
  });
  afterAll(() => sshd?.[Symbol.asyncDispose]());

  it("are decided by where its job runs, also by a front that came later", async () => {
    const folder = jobFolder();
    const keeper = await embeddedKeeper(folder);
    const admission = createAdmission({ name: "w1", keeper, sectionsFor: () => policy({ ssh: true }) });
    const runner = await testRunner(folder, { keeper, admission });
    const job = await drive(runner, { ssh: { host: "target" } });
    expect((await job.run("echo there", { env: [["LD_TEST", "1"]] })).stdout).toBe("there\n");
    // Of this machine nothing was granted.
    expect(await codeOf(admission.admit(asked({ steps: [{ shell: "true" }] }), caller, here))).toBe("DENIED");
    const later = createAdmission({ name: "w1", keeper, sectionsFor: () => policy({ ssh: true }) });
    const wanted = { request: job.command("echo there"), window: limits.windowMinimum, holder: "two" };
    expect((await later.admit(wanted, caller, here)).request).toEqual(wanted.request);
    expect(await codeOf(later.admit(wanted, { peer: "thief", name: "thief" }, here))).toBe("DENIED");
    await job.finish();
    expect(await codeOf(job.start("echo late"))).toBe("NOT_FOUND");
  });
});

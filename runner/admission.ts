// Whether a job may be started, asked by runner.ts before each: it gives the request that the keeper gets, or throws DENIED.
import type { Caller } from "../protocol/call.ts";
import { SortieError } from "../protocol/errors.ts";
import type { JobRequest, JobRunInput } from "../protocol/messages.ts";
import { decide, type Section } from "./grants/decide.ts";
import { wantsOf } from "./grants/wants.ts";

export interface Admission {
  /** Rejects with DENIED: to the peer it tells the kind, the value and the flag, and nothing else of the policy. */
  admit(asked: JobRunInput, caller: Caller): Promise<Admitted>;
}

export interface Admitted {
  /** What the keeper is to start: the request, with what was decided about it. */
  readonly request: JobRequest;
  /** What allowed it, for the record. */
  readonly rule: string;
}

/** Everything, to everybody who can call: for a coordinator's own runner, and for tests. */
export const admitAll: Admission = {
  admit: async ({ request }) => ({ request, rule: "everything is allowed" }),
};

export interface AdmissionOptions {
  /** The runner's name. */
  readonly name: string;
  /** The policies that hold for a peer now. */
  sectionsFor(caller: Caller): readonly Section[];
  readonly log?: (line: string) => void;
}

export function createAdmission({ name, sectionsFor, log = () => {} }: AdmissionOptions): Admission {
  return {
    async admit({ request }, caller) {
      const sections = sectionsFor(caller);
      const rules = new Set<string>();
      for (const want of wantsOf(request)) {
        const decision = decide(sections, want);
        if (decision.allowed) {
          rules.add(decision.rule);
          continue;
        }
        log(
          `refused ${request.job} for ${caller.name}: to ${want.what}: ${decision.rule ?? `nothing allows it (${decision.flag} would)`}`,
        );
        throw new SortieError("DENIED", `The runner ${name} was not told to let this coordinator ${want.what}.`, {
          hint: `Start the runner with ${decision.flag}, if its owner trusts this coordinator with it.`,
        });
      }
      return { request, rule: [...rules].join("; ") || "nothing is wanted" };
    },
  };
}

// Grants for `runner start`: its flags and its policy file, what asks in a terminal and what only audits, put together.
import { join } from "node:path";
import type { Argv } from "yargs";
import { SortieError } from "../../protocol/errors.ts";
import type { Trust } from "../../protocol/trust.ts";
import { type Admission, createAdmission } from "../admission.ts";
import type { KeeperLink } from "../keeper/keeper-link.ts";
import { createAsk } from "./ask.ts";
import { auditOnly } from "./audit-only.ts";
import { compile } from "./decide.ts";
import { GRANTS, type GrantOptions, grantOptions, policyOfFlags } from "./flags.ts";
import { openGrants } from "./grants.ts";
import { withReservedNames } from "./reserved-names.ts";
import { describeSection, warningsOf } from "./tell.ts";

export interface RunnerGrantOptions extends GrantOptions {
  readonly policy: string | undefined;
  readonly "audit-only": boolean;
}

export const POLICY_FILE = "runner.policy.json";

export const policyOption = {
  type: "string",
  describe: `File of grants for each coordinator; default: ${POLICY_FILE} in the state folder, if it is there`,
} as const;

export const runnerGrantOptions = (yargs: Argv) =>
  grantOptions(yargs)
    .option("policy", policyOption)
    .option("audit-only", {
      type: "boolean",
      default: false,
      describe: "Refuse every job, and tell the flags that it would have needed",
    })
    .group(["policy", "audit-only"], GRANTS);

export interface RunnerGrants {
  /** What gives new peers their names, and leaves those that the policy speaks of to the owner. */
  readonly trust: Trust;
  admission(keeper: KeeperLink): Admission;
  /** What is in force, in a few lines; and what its owner should know. */
  describe(): string[];
  warnings(): string[];
  /** Last words, where there are any. */
  close(): string[];
}

/** Policies of peers and groups that are told of at the start. */
const MOST_TOLD = 10;

/** `name`: the runner's. Throws USAGE and POLICY_INVALID: then the runner does not start. */
export function grantsOfRunner(
  options: RunnerGrantOptions,
  { name, folder, trust, log }: { name: string; folder: string; trust: Trust; log: (line: string) => void },
): RunnerGrants {
  const policy = policyOfFlags(options);
  if (options.policy === "") throw new SortieError("USAGE", "--policy takes the path of a file.");
  const grants = openGrants({
    flags: compile(policy, "flags"),
    path: options.policy ?? join(folder, POLICY_FILE),
    required: options.policy !== undefined,
    log,
  });
  const isAuditing = options["audit-only"];
  const isUngranted = policy.allow !== true && Object.keys(policy.allow).length === 0 && options.policy === undefined;
  const asks = isUngranted && !isAuditing && process.stdin.isTTY === true && process.stderr.isTTY === true;
  const audit = auditOnly((flags) =>
    log(flags.length > 0 ? `it would need ${flags.join(" ")}` : "it would be allowed"),
  );

  return {
    trust: withReservedNames(trust, grants.names, log),
    admission: (keeper) =>
      createAdmission({
        name,
        sectionsFor({ peer }) {
          const pin = trust.get(peer);
          // It was removed since it called.
          if (!pin) throw new SortieError("UNTRUSTED", "The runner does not trust this coordinator any more.");
          return grants.sectionsFor(pin);
        },
        keeper,
        log,
        ask: asks ? createAsk({ input: process.stdin, output: process.stderr, ...grants }) : undefined,
        onlyAudit: isAuditing ? audit.missing : undefined,
      }),
    describe() {
      if (isAuditing) return ["grants: none; every job is refused, and told what it would need (--audit-only)"];
      const [flags, common, ...others] = grants.sections();
      const toAll = [flags, common].flatMap((section) => (section && describeSection(section)) ?? []);
      const none = asks
        ? "none; each new thing is asked for here"
        : `none; what is not allowed is refused${others.length > 0 ? "" : " (-A allows all)"}`;
      return [
        `grants, to every trusted coordinator: ${toAll.join("; ") || none}`,
        ...others
          .slice(0, MOST_TOLD)
          .map((section) => `grants, by ${section.from}: ${describeSection(section) ?? "none"}`),
        ...(others.length > MOST_TOLD
          ? [`grants, of ${others.length - MOST_TOLD} more peers and groups: ${grants.path}`]
          : []),
      ];
    },
    warnings: () => warningsOf(grants.sections()),
    close() {
      grants.close();
      if (!isAuditing) return [];
      return [`all that was asked for would need: ${audit.flags().join(" ") || "nothing"}`];
    },
  };
}

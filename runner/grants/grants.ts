// The grants of a running runner: those of its flags, for everybody, and those of its policy file, which is looked at again
// before every job. commands/start.ts opens them.
import { type BigIntStats, readFileSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { mayBeSameStep } from "../../protocol/clock-step.ts";
import { asSortieError, type SortieError } from "../../protocol/errors.ts";
import { limits } from "../../protocol/limits.ts";
import { watchFolder } from "../../protocol/watch-folder.ts";
import type { Section } from "./decide.ts";
import type { Want } from "./policy.ts";
import {
  allowInFile,
  allSections,
  type LoadedPolicy,
  loadPolicy,
  namesPeer,
  type PolicyPeer,
  sectionsOf,
} from "./policy-file.ts";

export interface Grants {
  /** Where the file is, or would be. */
  readonly path: string;
  /** The policies that hold for the peer now. */
  sectionsFor(peer: PolicyPeer): Section[];
  /** All that there are now. */
  sections(): Section[];
  /** Whether the policy file speaks of a coordinator that fits. */
  names(fits: (name: string) => boolean): boolean;
  /** Writes into the policy file that the peer may have this. Throws where it cannot. */
  allowAlways(peer: string, want: Want): void;
  close(): void;
}

export interface GrantsOptions {
  readonly flags: Section;
  readonly path: string;
  /** Whether the file has to be there; another one may come later. */
  readonly required: boolean;
  readonly log: (line: string) => void;
}

/** What the file was when it was looked at. */
interface Seen {
  /** Empty where there was none. */
  readonly stamp: string | undefined;
  /** As long as another change could have the same stamp. */
  readonly content?: string;
}

/** Throws POLICY_INVALID where the file is wrong now. Later, the last one that was right stays in force. */
export function openGrants({ flags, path, required, log }: GrantsOptions): Grants {
  let seen: Seen = { stamp: required ? undefined : "" };
  let policy: LoadedPolicy | undefined;

  /** Throws where it changed and cannot be used; once for each change. */
  function look(): boolean {
    const stat = statSync(path, { throwIfNoEntry: false, bigint: true });
    // The mode is part of it: a file that others can write to is refused from then on.
    const stamp = stat ? `${stat.ino}:${stat.mode}:${stat.mtimeNs}:${stat.ctimeNs}:${stat.size}` : "";
    const before = seen;
    if (stamp === before.stamp && before.content === undefined) return false;
    const isYoung = stat !== undefined && mayBeSameStep(stat.ctimeMs);
    const content = stat ? contentOf(path, stat) : "";
    seen = isYoung ? { stamp, content } : { stamp };
    if (stamp === before.stamp && content === before.content) return false;
    policy = loadPolicy(path);
    return true;
  }

  /** Before every job, so that what is taken away is gone at once, whether or not the system tells of changes. */
  function refresh(): void {
    try {
      if (look()) log(`the policy ${path} was read again; it holds for every job from now on`);
    } catch (error) {
      const { message } = asSortieError(error) as SortieError;
      log(`${message} What was read before stays in force.`);
    }
  }

  look();
  const unwatch = watchFolder(dirname(path), refresh);
  return {
    path,
    sectionsFor(peer) {
      refresh();
      return [flags, ...(policy ? sectionsOf(policy, peer) : [])];
    },
    sections() {
      refresh();
      return [flags, ...(policy ? allSections(policy) : [])];
    },
    names(fits) {
      refresh();
      return policy !== undefined && namesPeer(policy, fits);
    },
    allowAlways: (peer, want) => allowInFile(path, peer, want),
    close: unwatch,
  };
}

/** Only to be compared: empty where loadPolicy() tells why not. */
function contentOf(path: string, stat: BigIntStats): string {
  if (!stat.isFile() || stat.size > limits.policyBytes) return "";
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
}

// `runner start --require-signature`: whose signature a job must have. docs/audit.md tells what it is good for.
import { SortieError } from "../protocol/errors.ts";
import { publicKeyOf } from "../protocol/identity.ts";
import type { JobRunInput } from "../protocol/messages.ts";
import { checkSignature } from "../protocol/signature.ts";
import type { Trust } from "../protocol/trust.ts";

export const signatureOption = {
  type: "string",
  describe:
    "Take only jobs that are signed by a trusted coordinator's key; =PEERID,…: by one of these keys, and no other",
} as const;

/** Peer IDs of the keys that may sign; none: those of trusted coordinators. */
export type Signers = ReadonlySet<string>;

/** Undefined where jobs need not be signed. Throws USAGE. */
export function parseSigners(text: string | undefined): Signers | undefined {
  if (text === undefined) return undefined;
  const peers = text === "" ? [] : text.split(",");
  const bad = peers.find((peer) => !publicKeyOf(peer));
  if (bad !== undefined)
    throw new SortieError("USAGE", `--require-signature takes peer IDs, not ${JSON.stringify(bad)}.`, {
      hint: "`coordinator id` prints one.",
    });
  return new Set(peers);
}

export const describeSigners = (signers: Signers): string =>
  `signatures: each job must be signed by ${signers.size > 0 ? [...signers].join(" or ") : "a trusted coordinator"}`;

/** `runner`: this one's own peer ID. What is trusted is looked up for each job. */
export const signatureCheck =
  (signers: Signers, runner: string, trust: Pick<Trust, "has">) =>
  (asked: JobRunInput): string =>
    checkSignature(asked, { runner, accepts: (peer) => (signers.size > 0 ? signers.has(peer) : trust.has(peer)) });

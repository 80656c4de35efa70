// Signed jobs: a coordinator signs each job for one runner, and a runner that demands it checks that before anything else. What is
// signed is the canonical JSON (RFC 8785) of the whole request, the runner and the time, so nobody on the way can change a job,
// keep it for later, or give it to another runner. A peer ID holds its public key: see identity.ts.
import { type KeyObject, sign, verify } from "node:crypto";
import canonicalize from "canonicalize";
import { SortieError } from "./errors.ts";
import { publicKeyOf } from "./identity.ts";
import { limits } from "./limits.ts";
import type { JobRequest, JobSignature } from "./messages.ts";

/** In front of all else, so that no other signature of the same key is ever taken for one of a job. */
const DOMAIN = "/sortie/job-signature/1";

/** Throws where the request has no canonical form, which JSON of half a surrogate pair has not. */
const signedBytes = (request: JobRequest, runner: string, { by, at }: Pick<JobSignature, "by" | "at">): Buffer =>
  Buffer.from(canonicalize({ domain: DOMAIN, runner, by, at, request }) ?? "");

/** `by`: the peer ID of the key; `runner`: that of the runner which it is for. */
export function signJob(
  { key, by }: { readonly key: KeyObject; readonly by: string },
  runner: string,
  request: JobRequest,
  at: number = Date.now(),
): JobSignature {
  return { by, at, value: sign(null, signedBytes(request, runner, { by, at }), key).toString("base64url") };
}

export interface SignatureCheck {
  /** This runner's own peer ID. */
  readonly runner: string;
  /** Whether a job signed by this peer's key is taken. */
  readonly accepts: (peer: string) => boolean;
  readonly now?: () => number;
}

/** Gives the peer ID of the key that signed the job. Throws SIGNATURE. */
export function checkSignature(
  { request, signature }: { readonly request: JobRequest; readonly signature?: JobSignature | undefined },
  { runner, accepts, now = Date.now }: SignatureCheck,
): string {
  if (!signature)
    throw new SortieError("SIGNATURE", "The runner takes signed jobs only, and this one is not signed.", {
      hint: "A coordinator of this version signs every job: is there an older one in between?",
    });
  const { by, at } = signature;
  const key = accepts(by) ? publicKeyOf(by) : undefined;
  if (!key)
    throw new SortieError("SIGNATURE", `The job is signed by ${by}, whose signature this runner does not accept.`, {
      hint: "Sign with another key (--sign-with FILE), or let the runner's owner name this one: --require-signature=PEERID.",
    });
  if (!isOf(key, signature, request, runner))
    throw new SortieError("SIGNATURE", "The job is not the one that was signed, or was signed for another runner.", {
      hint: "Somebody between the coordinator and the runner may have changed it.",
    });
  // Last: what it says of the time is true only then.
  const clock = now();
  if (Math.abs(clock - at) > limits.signatureMs)
    throw new SortieError(
      "SIGNATURE",
      `The job was signed at ${timeOf(at)}, and this runner's clock says ${timeOf(clock)}: more than ${limits.signatureMs / 60_000} minutes ${at < clock ? "ago" : "from now"}.`,
      { hint: "Is one of the clocks wrong?" },
    );
  return by;
}

function isOf(key: KeyObject, { by, at, value }: JobSignature, request: JobRequest, runner: string): boolean {
  try {
    return verify(null, signedBytes(request, runner, { by, at }), key, Buffer.from(value, "base64url"));
  } catch {
    return false;
  }
}

const timeOf = (at: number): string => new Date(at).toISOString();

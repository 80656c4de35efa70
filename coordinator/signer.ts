// Signs a coordinator's jobs: with its own key, or with one in a file (`--sign-with`), which a hub in between does not have.
// fleet.ts opens it with the first job.
import { loadIdentity, loadKey, signingKeyOf } from "../protocol/identity.ts";
import type { JobRequest, JobSignature } from "../protocol/messages.ts";
import { signJob } from "../protocol/signature.ts";

export type Signer = (runner: string, request: JobRequest) => JobSignature;

/** Rejects where the file is no key. */
export async function openSigner(folder: string, file: string | undefined): Promise<Signer> {
  const identity = file === undefined ? await loadIdentity(folder) : loadKey(file);
  const signer = { key: signingKeyOf(identity), by: identity.peer };
  return (runner, request) => signJob(signer, runner, request);
}

// Signs a coordinator's jobs: with its own key, or with one in a file (`--sign-with`), which a hub in between does not have.
// fleet.ts opens it with the first job.
import { identityStamp, loadIdentity, loadKey, signingKeyOf } from "../protocol/identity.ts";
import type { JobRequest, JobSignature } from "../protocol/messages.ts";
import { signJob } from "../protocol/signature.ts";

export type Signer = (runner: string, request: JobRequest) => Promise<JobSignature>;

/** Rejects where the file is no key. */
export async function openSigner(folder: string, file: string | undefined): Promise<Signer> {
  let stamp = identityStamp(folder);
  let identity = file === undefined ? await loadIdentity(folder) : loadKey(file);
  return async (runner, request) => {
    // Another key was made meanwhile, and is what the runner knows.
    if (file === undefined && identityStamp(folder) !== stamp) {
      stamp = identityStamp(folder);
      identity = await loadIdentity(folder);
    }
    return signJob({ key: signingKeyOf(identity), by: identity.peer }, runner, request);
  };
}

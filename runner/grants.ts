// What a runner lets a coordinator do: nothing that it was not told to allow. Pure; runner.ts asks before each job.
import type { JobRequest } from "../protocol/messages.ts";

export interface Grants {
  /** `--allow-all`: any command this user can run. */
  readonly all: boolean;
}

export type Decision =
  | { readonly allowed: true }
  | { readonly allowed: false; readonly message: string; readonly flag: string };

export function decide(grants: Grants, request: JobRequest): Decision {
  if (grants.all) return { allowed: true };
  const [first] = request.steps;
  const command = request.driven
    ? "run the commands of a function"
    : first && "argv" in first
      ? `run ${JSON.stringify(first.argv[0])}`
      : "run a shell command";
  const { container, ssh } = request;
  const what = `${command}${container ? ` in a container of ${container.image}` : ssh ? ` on ${ssh.host} by ssh` : ""}`;
  return { allowed: false, message: `The runner was not told to let anybody ${what}.`, flag: "--allow-all" };
}

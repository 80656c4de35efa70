// Files of a job's secrets for its containers: a folder in this machine's memory, mounted to be read. So an engine that is
// asked about a container tells a path and no value. container.ts makes it before the first step.
import type Docker from "dockerode";
import type { JobRequest } from "../../../../protocol/messages.ts";
import { Refused, type SiteEvents } from "../backend.ts";
import { type SecretFiles, writeSecretFiles } from "../secret-files.ts";
import type { Engine } from "./engine.ts";

/** Undefined where the job has none. Throws Refused where they cannot be made. */
export async function secretsFor(
  engine: Engine,
  image: Docker.ImageInspectInfo,
  request: JobRequest,
  events: SiteEvents,
  owner: string,
): Promise<SecretFiles | undefined> {
  if (!request.secrets?.some((secret) => secret.as === "file")) return undefined;
  if (!engine.isLocal)
    throw new Refused(
      "engine",
      "secrets as files need an engine on the runner's own machine: give them to the job by env, or by stdin",
    );
  const uid = numberOf(request.user ?? image.Config?.User ?? "");
  const own = process.getuid?.();
  const may = uid !== undefined && (own === 0 || own === uid) && !(await numbersDiffer(engine));
  return writeSecretFiles(request, {
    events,
    owner,
    shared: true,
    ...(may ? { account: { uid, gid: process.getgid?.() ?? 0 } } : {}),
  });
}

/** Of a user as an image or a job names it; undefined where only the image's own files could tell. */
function numberOf(user: string): number | undefined {
  const [name = ""] = user.split(":");
  if (name === "" || name === "root") return 0;
  return /^\d{1,9}$/.test(name) ? Number(name) : undefined;
}

/** Whether users in a container have other numbers outside of it. */
async function numbersDiffer({ docker, isPodman }: Engine): Promise<boolean> {
  const { SecurityOptions } = (await docker.info()) as { SecurityOptions?: readonly string[] | null };
  return isPodman || (SecurityOptions ?? []).some((option) => /name=(userns|rootless)/.test(option));
}

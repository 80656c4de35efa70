// How what belongs to a job is found on an engine again, by whoever has its attempt, and removed. container.ts asks at
// a job's end, and for what a keeper that died left.
import { setTimeout as delay } from "node:timers/promises";
import type { AttemptId } from "../../../../protocol/ids.ts";
import { limits } from "../../../../protocol/limits.ts";
import type { JobRequest } from "../../../../protocol/messages.ts";
import type { Engine } from "./engine.ts";
import { statusOf } from "./engine-error.ts";

export const labelsOf = (request: JobRequest, owner: string): Record<string, string> => ({
  "sortie.run": request.run,
  "sortie.job": request.job,
  ...labelsOfAttempt(request.attemptId, owner),
});

/** Of a container that is made for an attempt whose request nobody has any more. */
export const labelsOfAttempt = (attempt: AttemptId, owner: string): Record<string, string> => ({
  "sortie.attempt": attempt,
  "sortie.owner": owner,
});

/** Ends and removes everything of the attempt; rejects where something is left. */
export async function removeAll({ docker }: Engine, owner: string, attempt: AttemptId): Promise<void> {
  // Podman finds no image by two labels at once.
  const filters = { label: [`sortie.attempt=${attempt}`] };
  const isOurs = ({ Labels }: { Labels?: Record<string, string> | null | undefined }): boolean =>
    Labels?.["sortie.owner"] === owner;
  const containers = async (): Promise<void> => {
    const found = (await docker.listContainers({ all: true, filters })).filter(isOurs);
    await Promise.all(
      found.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true }).catch(unlessGone)),
    );
  };
  const networks = async (): Promise<void> => {
    for (const { Id } of (await docker.listNetworks({ filters })).filter(isOurs))
      await docker.getNetwork(Id).remove().catch(unlessGone);
  };
  const volumes = async (): Promise<void> => {
    for (const { Name } of ((await docker.listVolumes({ filters })).Volumes ?? []).filter(isOurs))
      await docker.getVolume(Name).remove().catch(unlessGone);
  };
  // Each is made of the one before it, and goes after those made of it; times of the same second do not tell which.
  const images = async (): Promise<void> => {
    for (let before = Number.POSITIVE_INFINITY, why: unknown; ; ) {
      const found = (await docker.listImages({ all: true, filters })).filter(isOurs);
      if (found.length === 0) return;
      if (found.length >= before)
        throw why ?? Object.assign(new Error("images of steps are left"), { statusCode: 409 });
      before = found.length;
      for (const { Id } of found.sort((one, other) => other.Created - one.Created))
        await docker
          .getImage(Id)
          .remove({ force: true })
          .catch((error) => {
            why = error;
          });
    }
  };
  for (const step of [containers, networks, volumes, images]) await persist(step);
}

/** An engine may still be busy with what is to go (409), or with itself (500); one that does not answer is asked later. */
async function persist(step: () => Promise<void>): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await step();
    } catch (error) {
      if (attempt === limits.removals || statusOf(error) === undefined) throw error;
      await delay(limits.removeAgainMs * attempt);
    }
  }
}

export function unlessGone(error: unknown): void {
  if (statusOf(error) !== 404) throw error;
}

// A step's container becomes the image of the next one's, so that a step finds what the one before changed. Where it
// changed nothing of the image, which is most of the time, the image stays as it is. container.ts asks between two steps.
import type Docker from "dockerode";
import { limits } from "../../../../protocol/limits.ts";
import type { Container } from "../../../../protocol/place.ts";
import { WORKSPACE } from "./create-body.ts";

export interface MadeOf {
  readonly image: string;
  readonly layers: number;
}

/** What engines put into a container themselves: its init, and the places they mount over. */
const OF_THE_ENGINE = [
  "/sbin/docker-init",
  "/run/podman-init",
  "/run/.containerenv",
  "/run/secrets",
  "/.dockerenv",
  "/etc/hosts",
  "/etc/hostname",
  "/etc/resolv.conf",
  "/etc/mtab",
  "/dev/init",
  "/dev/console",
  "/proc",
  "/sys",
];

/** Undefined where an image of one more layer would be too deep for the engine. */
export async function keepFiles(
  step: Docker.Container,
  madeOf: MadeOf,
  container: Container,
  labels: Readonly<Record<string, string>>,
  cancelled: AbortSignal,
): Promise<MadeOf | undefined> {
  const changes = ((await step.changes({ abortSignal: cancelled } as never)) ?? []) as { Path: string }[];
  const targets = [
    WORKSPACE,
    ...container.mounts.map(({ target }) => target),
    ...container.tmpfs.map(({ target }) => target),
  ];
  if (
    !hasChanged(
      changes.map(({ Path }) => Path),
      targets,
    )
  )
    return madeOf;
  if (madeOf.layers >= limits.imageLayers) return undefined;
  cancelled.throwIfAborted();
  const changesOfImage = Object.entries(labels).map(([name, value]) => `LABEL ${name}=${JSON.stringify(value)}`);
  const { Id } = (await step.commit({ pause: false, changes: changesOfImage.join("\n") } as never)) as unknown as {
    Id: string;
  };
  return { image: Id, layers: madeOf.layers + 1 };
}

/** A path counts unless it, or something under it, is where the engine mounted something. */
export function hasChanged(paths: readonly string[], mounted: readonly string[]): boolean {
  const expected = [...OF_THE_ENGINE, ...mounted];
  return paths.some((path) => !expected.some((one) => one === path || one.startsWith(`${path}/`)));
}

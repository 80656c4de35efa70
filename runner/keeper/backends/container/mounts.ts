// What a job's mounts are, looked at right before a container is made of them. container.ts asks.
import { existsSync, realpathSync } from "node:fs";
import type { Container } from "../../../../protocol/place.ts";
import { Refused } from "../backend.ts";

/**
 * Throws Refused where something is not there (Podman would make it), or where `real` paths are wanted and a link is on
 * the way by now. What happens between this look and the engine's own cannot be seen from here.
 */
export function checkMounts({ mounts }: Container, real: boolean): void {
  for (const { source } of mounts) {
    if (!existsSync(source)) throw new Refused("spawn", `the directory to mount, ${source}, is not there`);
    if (real && realpathSync(source) !== source)
      throw new Refused("spawn", `${source} is not the path that was granted any more: there is a link on the way`);
  }
}

// Creates a container: the options as a body only, since the library would put them, variables and all, into the URL too.
import type Docker from "dockerode";
import type { Engine } from "./engine.ts";

export function create(
  { docker }: Engine,
  body: Docker.ContainerCreateOptions,
  platform: string | undefined,
): Promise<Docker.Container> {
  return docker.createContainer({ _query: platform === undefined ? {} : { platform }, _body: body } as never);
}

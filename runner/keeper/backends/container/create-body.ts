// A job's request as the engine's own options. Pure; command.ts creates a container of them for each step.
// https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerCreate
import { posix } from "node:path";
import type { ContainerCreateOptions, HostConfig, MountSettings } from "dockerode";
import type { Command } from "../../../../protocol/command.ts";
import type { Confinement } from "../../../../protocol/confinement.ts";
import type { JobRequest } from "../../../../protocol/messages.ts";
import type { Container, ResourceLimits, Service } from "../../../../protocol/place.ts";
import { variablesOf } from "../../work.ts";
import type { SiteCommand } from "../backend.ts";

/** Where the files of the job's secrets are, to be read. */
export const SECRETS = "/run/sortie-secrets";

/** Where the job's own directory is in the container, and where its steps run unless it says otherwise. */
export const WORKSPACE = "/workspace";

export const directoryOf = (request: JobRequest): string => request.cwd ?? WORKSPACE;

/** What the job's site adds to what was asked for. */
export interface Place {
  readonly labels: Readonly<Record<string, string>>;
  /** A directory of this machine, or a volume's name where the engine is on another. */
  readonly workspace: { readonly directory: string } | { readonly volume: string };
  /** The private network, where the job has services. */
  readonly network: string | undefined;
  /** The folder with the files of the job's secrets. */
  readonly secrets?: string | undefined;
  /** What the runner's policy holds every container of the job to. */
  readonly confine: Confinement | undefined;
}

export const argvOf = (command: Command): readonly string[] =>
  "argv" in command ? command.argv : ["/bin/sh", "-c", command.shell];

/** What a command's container is made of. */
export interface Base {
  readonly image: string;
  /** A container whose volumes it shares. */
  readonly volumesFrom: string | undefined;
  /** Variables as the job's image had them, where a command before changed them for itself. */
  readonly restored: readonly string[];
}

export function stepBody(
  request: JobRequest,
  container: Container,
  { command, stdin, own }: SiteCommand,
  base: Base,
  place: Place,
): ContainerCreateOptions {
  const variables = variablesOf(request, own);
  const restored = base.restored.filter((entry) => !Object.hasOwn(variables, entry.split("=", 1)[0] as string));
  return {
    ...started(base.image, [...(container.entrypoint ?? []), ...argvOf(command)]),
    Env: [...Object.entries(variables).map(([name, value]) => `${name}=${value}`), ...restored],
    WorkingDir: posix.resolve(directoryOf(request), own?.cwd ?? ""),
    ...(request.user === undefined ? {} : { User: request.user }),
    Labels: { ...place.labels },
    OpenStdin: stdin,
    StdinOnce: stdin,
    AttachStdin: stdin,
    AttachStdout: true,
    AttachStderr: true,
    // An image's check is for one that serves; a command is watched already.
    Healthcheck: { Test: ["NONE"] },
    HostConfig: {
      ...common(container, container.newPrivileges),
      ...resources(request.limits),
      Privileged: container.privileged,
      CapAdd: [...container.capabilities.add],
      CapDrop: [...container.capabilities.drop],
      ReadonlyRootfs: container.readOnly,
      Mounts: [workspaceMount(place), ...secretsMount(place), ...container.mounts.map(bind)],
      ...(base.volumesFrom === undefined ? {} : { VolumesFrom: [base.volumesFrom] }),
      ...(container.shm === undefined ? {} : { ShmSize: container.shm }),
      ...(container.gpus === undefined ? {} : { DeviceRequests: [gpus(container.gpus)] }),
      ...networkMode(place.network ?? container.network),
    },
  };
}

export function serviceBody(service: Service, place: Place): ContainerCreateOptions {
  const { name, image, entrypoint, command } = service;
  return {
    ...(entrypoint === undefined
      ? { Image: image, ...(command === undefined ? {} : { Cmd: [...command] }) }
      : started(image, [...entrypoint, ...(command ?? [])])),
    Env: service.env.map(([variable, value]) => `${variable}=${value}`),
    ...(service.user === undefined ? {} : { User: service.user }),
    Labels: { ...place.labels, "sortie.service": name },
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: { ...common(service, false), ...resources(service.limits), ...networkMode(place.network) },
    ...(place.network === undefined
      ? {}
      : { NetworkingConfig: { EndpointsConfig: { [place.network]: { Aliases: [name] } } } }),
  };
}

/** Everything as the entrypoint: only so do both engines forget the image's own, and its arguments. */
const started = (image: string, argv: readonly string[]): ContainerCreateOptions => ({
  Image: image,
  Entrypoint: [...argv],
  Cmd: [],
});

const common = ({ tmpfs }: Pick<Container, "tmpfs">, newPrivileges: boolean): HostConfig => ({
  // Without an init the command is process 1, which ignores the signals it does not handle.
  Init: true,
  // The keeper holds the streams; an engine's log would be a second copy, on a disk that nobody looks after.
  LogConfig: { Type: "none", Config: {} },
  SecurityOpt: newPrivileges ? [] : ["no-new-privileges"],
  Tmpfs: Object.fromEntries(tmpfs.map(({ target, bytes }) => [target, bytes === undefined ? "" : `size=${bytes}`])),
});

const resources = ({ memory, cpus, pids }: ResourceLimits = {}): HostConfig => ({
  // Memory and swap together: as much as the memory alone is no swap at all.
  ...(memory === undefined ? {} : { Memory: memory, MemorySwap: memory }),
  ...(cpus === undefined ? {} : { NanoCpus: Math.round(cpus * 1e9) }),
  ...(pids === undefined ? {} : { PidsLimit: pids }),
});

const workspaceMount = ({ workspace }: Place): MountSettings =>
  "directory" in workspace
    ? { Type: "bind", Source: workspace.directory, Target: WORKSPACE }
    : { Type: "volume", Source: workspace.volume, Target: WORKSPACE };

const secretsMount = ({ secrets }: Place): MountSettings[] =>
  secrets === undefined ? [] : [{ Type: "bind", Source: secrets, Target: SECRETS, ReadOnly: true }];

const bind = ({ source, target, readOnly }: Container["mounts"][number]): MountSettings => ({
  Type: "bind",
  Source: source,
  Target: target,
  ReadOnly: readOnly,
});

const gpus = (count: "all" | number): { Driver: string; Count: number; Capabilities: string[][] } => ({
  Driver: "",
  Count: count === "all" ? -1 : count,
  Capabilities: [["gpu"]],
});

const networkMode = (network: string | undefined): HostConfig =>
  network === undefined ? {} : { NetworkMode: network };

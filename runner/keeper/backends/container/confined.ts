// A container's options as the runner's policy confines them: what was asked for beyond the usual was granted before, and
// what nobody asked for is taken away. Pure; each container of a job and of its services is created of these.
// https://docs.docker.com/engine/security/
import type { ContainerCreateOptions, HostConfig } from "dockerode";
import type { Confinement } from "../../../../protocol/confinement.ts";
import type { ResourceLimits } from "../../../../protocol/place.ts";

export function confined(body: ContainerCreateOptions, confine: Confinement | undefined): ContainerCreateOptions {
  if (!confine) return body;
  const host = body.HostConfig ?? {};
  return {
    ...body,
    HostConfig: {
      ...host,
      ...(host.Privileged || !confine.capabilities ? {} : capabilities(host, confine.capabilities)),
      ...(confine.network === "none" && host.NetworkMode === undefined ? { NetworkMode: "none" } : {}),
      ...(confine.limits ? limited(host, confine.limits) : {}),
    },
  };
}

function capabilities({ CapAdd = [], CapDrop = [] }: HostConfig, kept: readonly string[]): HostConfig {
  const dropped = CapDrop.map((name: string) => name.replace(/^CAP_/, ""));
  const left = dropped.includes("ALL") ? [] : kept.filter((name) => !dropped.includes(name));
  return { CapDrop: ["ALL"], CapAdd: [...new Set([...left, ...CapAdd])] };
}

/** Less than the usual is as it was asked for. A file system in memory counts as memory, and says how much it has. */
function limited(host: HostConfig, { memory, cpus, pids }: ResourceLimits): HostConfig {
  const most = host.Memory ?? memory;
  const tmpfs = Object.entries(host.Tmpfs ?? {}).map(([path, size]) => [path, size || `size=${most}`]);
  return {
    ...(host.Memory !== undefined || memory === undefined ? {} : { Memory: memory, MemorySwap: memory }),
    // As a quota, which an engine takes also where the machine has fewer cores.
    ...(host.NanoCpus !== undefined || cpus === undefined ? {} : { CpuPeriod: 100_000, CpuQuota: cpus * 100_000 }),
    ...(host.PidsLimit !== undefined || pids === undefined ? {} : { PidsLimit: pids }),
    ...(most === undefined ? {} : { Tmpfs: Object.fromEntries(tmpfs) as Record<string, string> }),
  };
}

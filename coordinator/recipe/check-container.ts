// The container that a job asks for, and the services beside it: checked, and as they are sent. check-place.ts calls it.
import * as v from "valibot";
import type { Command } from "../../protocol/command.ts";
import { parseDuration } from "../../protocol/duration.ts";
import { limits } from "../../protocol/limits.ts";
import { Container, Service } from "../../protocol/place.ts";
import { accept, checkDuration, checkNames, isRecord, shown, sizeOf, type Wrong } from "./check.ts";
import { limitsOf, userOf } from "./check-limits.ts";
import type { ContainerOptions, HealthOptions, MountOptions, ServiceOptions, TmpfsOptions } from "./place.ts";
import type { PlanSecret } from "./plan-secret.ts";
import { isShellCommand } from "./shell.ts";
import { variablesOf } from "./variables.ts";

const containerNames = [
  ...["image", "pull", "entrypoint", "mounts", "tmpfs", "network", "shm", "gpus", "readOnly", "capabilities"],
  ...["newPrivileges", "privileged", "platform", "services"],
] as (keyof ContainerOptions)[];
const serviceNames = [
  ...["image", "pull", "env", "entrypoint", "command", "user", "tmpfs", "limits", "health", "healthyWithin"],
] as (keyof ServiceOptions)[];
const mountNames = ["source", "writable"] satisfies (keyof MountOptions)[];
const tmpfsNames = ["path", "size"] satisfies (keyof TmpfsOptions)[];
const healthNames = ["run", "every"] satisfies (keyof HealthOptions)[];
const capabilityNames = ["add", "drop"] satisfies (keyof NonNullable<ContainerOptions["capabilities"]>)[];

export function containerOf(value: unknown, wrong: Wrong): Container {
  const options = withImage("container", value, containerNames, wrong);
  const { network, gpus, platform, entrypoint } = Container.entries;
  const services = servicesOf(options["services"], wrong);
  if (services.length > 0 && options["network"] !== undefined)
    throw wrong("container.network cannot stand beside services, which share a network of their own: leave it out.");
  const container: Container = {
    ...imageOf("container", options, wrong),
    entrypoint: accept(entrypoint, "container.entrypoint", options["entrypoint"], "a list of strings", wrong),
    mounts: mountsOf(options["mounts"], wrong),
    tmpfs: tmpfsOf("container.tmpfs", options["tmpfs"], wrong),
    network: accept(network, "container.network", options["network"], '"none" or a network\'s name', wrong),
    shm: positiveSize("container.shm", options["shm"], wrong),
    gpus: accept(gpus, "container.gpus", options["gpus"], '"all" or a whole number from 1', wrong),
    readOnly: flag("container.readOnly", options["readOnly"], wrong),
    capabilities: capabilitiesOf(options["capabilities"], wrong),
    newPrivileges: flag("container.newPrivileges", options["newPrivileges"], wrong),
    privileged: flag("container.privileged", options["privileged"], wrong),
    platform: accept(platform, "container.platform", options["platform"], 'such as "linux/arm64"', wrong),
    services,
  };
  return whole(Container, "container", container, wrong);
}

function servicesOf(value: unknown, wrong: Wrong): Service[] {
  if (value === undefined) return [];
  if (!isRecord(value)) throw wrong(`container.services must be an object of services, not ${shown(value)}.`);
  return Object.entries(value).map(([name, service]) => {
    const wanted = "a service's name: a-z, 0-9 and -, at most 63";
    return serviceOf(accept(Service.entries.name, "The name of a service", name, wanted, wrong), service, wrong);
  });
}

function serviceOf(name: string, value: unknown, wrong: Wrong): Service {
  const where = `container.services.${name}`;
  const options = withImage(where, value, serviceNames, wrong);
  const { env, user, health, healthyWithin } = options;
  const variables = variablesOf(`${where}.env`, env, wrong);
  const { entrypoint, command } = Service.entries;
  const service: Service = {
    name,
    ...imageOf(where, options, wrong),
    entrypoint: accept(entrypoint, `${where}.entrypoint`, options["entrypoint"], "a list of strings", wrong),
    command: accept(command, `${where}.command`, options["command"], "a list of strings", wrong),
    env: variables.env,
    user: user === undefined ? undefined : userOf(`${where}.user`, user, wrong),
    tmpfs: tmpfsOf(`${where}.tmpfs`, options["tmpfs"], wrong),
    limits: limitsOf(`${where}.limits`, options["limits"] ?? {}, wrong),
    health: health === undefined ? undefined : healthOf(`${where}.health`, health, wrong),
    healthyWithinMs: positiveDuration(`${where}.healthyWithin`, healthyWithin, limits.serviceHealthyMs, wrong),
  };
  return whole(Service, where, service, wrong);
}

/** The image alone, or an object with it. */
function withImage(
  where: string,
  value: unknown,
  names: readonly string[],
  wrong: Wrong,
): Readonly<Record<string, unknown>> {
  if (typeof value === "string") return { image: value };
  if (!isRecord(value)) throw wrong(`${where} must be an image such as "alpine:3", or an object, not ${shown(value)}.`);
  checkNames(where, value, names, wrong);
  if (value["image"] === undefined) throw wrong(`${where} needs an image.`);
  return value;
}

function imageOf(where: string, { image, pull }: Readonly<Record<string, unknown>>, wrong: Wrong) {
  const entries = Container.entries;
  return {
    image: accept(entries.image, `${where}.image`, image, 'an image\'s name such as "alpine:3"', wrong),
    pull: accept(entries.pull, `${where}.pull`, pull ?? "missing", '"always", "missing" or "never"', wrong),
  };
}

function mountsOf(value: unknown, wrong: Wrong): Container["mounts"] {
  if (value === undefined) return [];
  if (!isRecord(value))
    throw wrong(`container.mounts must be an object such as { "/in/container": "/on/runner" }, not ${shown(value)}.`);
  return Object.entries(value).map(([target, mount]) => {
    const where = `container.mounts[${JSON.stringify(target)}]`;
    absolute("A name in container.mounts", target, wrong);
    if (!isRecord(mount)) return { source: absolute(where, mount, wrong), target, readOnly: true };
    checkNames(where, mount, mountNames, wrong);
    const source = absolute(`${where}.source`, mount["source"], wrong);
    return { source, target, readOnly: !flag(`${where}.writable`, mount["writable"], wrong) };
  });
}

function tmpfsOf(option: string, value: unknown, wrong: Wrong): Container["tmpfs"] {
  if (value === undefined) return [];
  if (!Array.isArray(value)) throw wrong(`${option} must be a list of paths, not ${shown(value)}.`);
  return value.map((one, index) => {
    const where = `${option}[${index}]`;
    if (!isRecord(one)) return { target: absolute(where, one, wrong) };
    checkNames(where, one, tmpfsNames, wrong);
    const target = absolute(`${where}.path`, one["path"], wrong);
    return { target, bytes: positiveSize(`${where}.size`, one["size"], wrong) };
  });
}

function capabilitiesOf(value: unknown, wrong: Wrong): Container["capabilities"] {
  if (value === undefined) return { add: [], drop: [] };
  const option = "container.capabilities";
  if (!isRecord(value)) throw wrong(`${option} must be an object with add and drop, not ${shown(value)}.`);
  checkNames(option, value, capabilityNames, wrong);
  const { add, drop } = Container.entries.capabilities.entries;
  const wants = 'a list of names such as "NET_ADMIN", without CAP_';
  return {
    add: accept(add, `${option}.add`, value["add"] ?? [], wants, wrong),
    drop: accept(drop, `${option}.drop`, value["drop"] ?? [], wants, wrong),
  };
}

function healthOf(option: string, value: unknown, wrong: Wrong): Service["health"] {
  const bare = typeof value === "string" || Array.isArray(value) || isShellCommand(value);
  if (!bare && !isRecord(value))
    throw wrong(`${option} must be a command, or an object with run, not ${shown(value)}.`);
  if (bare) return { command: commandOf(option, value, wrong), everyMs: limits.serviceCheckEveryMs };
  checkNames(option, value, healthNames, wrong);
  return {
    command: commandOf(`${option}.run`, value["run"], wrong),
    everyMs: positiveDuration(`${option}.every`, value["every"], limits.serviceCheckEveryMs, wrong),
  };
}

function commandOf(option: string, value: unknown, wrong: Wrong): Command {
  if (isShellCommand(value)) return { shell: value.text };
  if (typeof value === "string" && value.trim() !== "") return { shell: value };
  const argv = Array.isArray(value) && value.every((part) => typeof part === "string") ? value : [];
  if ((argv[0] ?? "").trim() !== "") return { argv: [...argv] };
  throw wrong(`${option} must be a shell string, an sh template or argv, not ${shown(value)}.`);
}

function absolute(option: string, value: unknown, wrong: Wrong): string {
  if (typeof value === "string" && value.startsWith("/")) return value;
  throw wrong(`${option} must be an absolute path, not ${shown(value)}.`);
}

function flag(option: string, value: unknown, wrong: Wrong): boolean {
  if (value === undefined || typeof value === "boolean") return value ?? false;
  throw wrong(`${option} must be true or false, not ${shown(value)}.`);
}

function positiveSize(option: string, value: unknown, wrong: Wrong): number | undefined {
  if (value === undefined) return undefined;
  const bytes = sizeOf(option, value, wrong);
  if (bytes > 0) return bytes;
  throw wrong(`${option} must be at least a byte.`);
}

function positiveDuration(option: string, value: unknown, otherwise: number, wrong: Wrong): number {
  checkDuration(option, value, wrong);
  const milliseconds = parseDuration(value) ?? otherwise;
  if (milliseconds > 0) return milliseconds;
  throw wrong(`${option} must be at least a millisecond.`);
}

/** What no part shows alone: how many there are of something, and characters that no command line can hold. */
function whole<Schema extends v.GenericSchema>(
  schema: Schema,
  option: string,
  value: v.InferInput<Schema>,
  wrong: Wrong,
): v.InferOutput<Schema> {
  const parsed = v.safeParse(schema, value);
  if (parsed.success) return parsed.output;
  const [issue] = parsed.issues;
  throw wrong(`${option} cannot be asked for: ${v.getDotPath(issue) ?? "it"}: ${issue.message}.`);
}

/** Secrets of a container's services, which what a runner is asked for does not hold yet. */
export function serviceSecretsOf(container: unknown, wrong: Wrong): PlanSecret[] {
  const services = isRecord(container) && isRecord(container["services"]) ? Object.entries(container["services"]) : [];
  return services.flatMap(([service, options]) =>
    variablesOf(service, isRecord(options) ? options["env"] : undefined, wrong).secrets.map((one) => ({
      ...one,
      service,
    })),
  );
}

// In what a job runs, as schemas: a container with its services, a host that is reached by ssh; as which user, and what it
// may use. messages.ts has the request that they are parts of.
import * as v from "valibot";
import { Command, Environment } from "./command.ts";
import { limits } from "./limits.ts";
import { AbsolutePath, PositiveInteger, Text } from "./primitives.ts";

/** A user's name, or `uid`, `uid:gid`. */
export const User = v.pipe(
  v.string(),
  v.regex(/^[a-z0-9_][A-Za-z0-9_.-]{0,31}(:[a-z0-9_][A-Za-z0-9_.-]{0,31})?$/, "a user, as name or uid:gid"),
);

/** What a job may use: bytes; cores, such as 1.5; processes and threads. */
export const ResourceLimits = v.strictObject({
  memory: v.optional(v.pipe(v.number(), v.integer(), v.minValue(6 * 1024 * 1024, "at least 6 MiB of memory"))),
  cpus: v.optional(v.pipe(v.number(), v.minValue(0.01), v.maxValue(10_000))),
  pids: v.optional(PositiveInteger),
});
export type ResourceLimits = v.InferOutput<typeof ResourceLimits>;

/** An image as an engine writes it, `alpine:3`, `ghcr.io/acme/app@sha256:…`; one that an engine could take for a flag is none. */
const Image = v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,511}$/, "an image's name"));
const Pull = v.picklist(["always", "missing", "never"]);
/** The path of a file system in memory, and its size in bytes. */
const Tmpfs = v.strictObject({ target: AbsolutePath, bytes: v.optional(PositiveInteger) });
const Argv = v.array(Text);

/** A container beside the job's own, on a network that only they share, where its name is its address. */
export const Service = v.strictObject({
  name: v.pipe(v.string(), v.regex(/^[a-z0-9][a-z0-9-]{0,62}$/, "a service's name: a-z, 0-9 and -")),
  image: Image,
  pull: Pull,
  /** Replaces the image's own. */
  entrypoint: v.optional(Argv),
  command: v.optional(Argv),
  env: Environment,
  user: v.optional(User),
  tmpfs: v.pipe(v.array(Tmpfs), v.maxLength(limits.listedPerContainer)),
  limits: ResourceLimits,
  /** Run in it again and again until it exits 0, with `everyMs` between; without it the image's own check, if it has one. */
  health: v.optional(v.strictObject({ command: Command, everyMs: PositiveInteger })),
  /** From its start. */
  healthyWithinMs: v.pipe(PositiveInteger, v.maxValue(limits.timeoutMaximumMs)),
});
export type Service = v.InferOutput<typeof Service>;

export const Capability = v.pipe(v.string(), v.regex(/^[A-Z_]{1,40}$/, "a capability without CAP_"));

export const Container = v.strictObject({
  image: Image,
  pull: Pull,
  /** Replaces the image's own; the command is its arguments. */
  entrypoint: v.optional(Argv),
  mounts: v.pipe(
    v.array(v.strictObject({ source: AbsolutePath, target: AbsolutePath, readOnly: v.boolean() })),
    v.maxLength(limits.listedPerContainer),
  ),
  tmpfs: v.pipe(v.array(Tmpfs), v.maxLength(limits.listedPerContainer)),
  /** `none`, or a network of the engine by its name; without it the engine's default. Not together with services. */
  network: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/, "a network's name"))),
  /** Bytes of /dev/shm. */
  shm: v.optional(PositiveInteger),
  gpus: v.optional(v.union([v.literal("all"), PositiveInteger])),
  readOnly: v.boolean(),
  capabilities: v.strictObject({
    add: v.pipe(v.array(Capability), v.maxLength(limits.listedPerContainer)),
    drop: v.pipe(v.array(Capability), v.maxLength(limits.listedPerContainer)),
  }),
  /** Lets a program get more rights than its caller, as sudo does. */
  newPrivileges: v.boolean(),
  privileged: v.boolean(),
  platform: v.optional(
    v.pipe(v.string(), v.regex(/^[a-z0-9]+\/[a-z0-9]+(\/[a-z0-9]+)?$/, "a platform such as linux/arm64")),
  ),
  services: v.pipe(
    v.array(Service),
    v.maxLength(limits.servicesPerJob),
    v.check((services) => new Set(services.map(({ name }) => name)).size === services.length, "each service once"),
  ),
});
export type Container = v.InferOutput<typeof Container>;

/** What a container of nothing but its image is asked for as. */
export const plainContainer = {
  pull: "missing",
  mounts: [],
  tmpfs: [],
  readOnly: false,
  capabilities: { add: [], drop: [] },
  newPrivileges: false,
  privileged: false,
  services: [],
} satisfies Omit<Container, "image">;

/** A host as `ssh` takes it: an alias of the runner's own ssh configuration, or an address, with a user and a port. */
export const SshTarget = v.strictObject({
  host: v.pipe(v.string(), v.regex(/^[A-Za-z0-9:][A-Za-z0-9_.:%-]{0,254}$/, "a host's name or address")),
  user: v.optional(v.pipe(v.string(), v.regex(/^[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}$/, "a user's name"))),
  port: v.optional(v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(65_535))),
});
export type SshTarget = v.InferOutput<typeof SshTarget>;

/** Where a request's commands run: as processes of the runner itself, in a container, or on another host. */
export type Place = "local" | "container" | "ssh";
export const placeOf = (asked: { readonly container?: unknown; readonly ssh?: unknown }): Place =>
  asked.container ? "container" : asked.ssh ? "ssh" : "local";

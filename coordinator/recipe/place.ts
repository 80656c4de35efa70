// The options of job() that say where its commands run and what they may use, as recipes write them. check-place.ts
// and check-container.ts make of them what a runner is asked for.
import type { ShellCommand } from "./shell.ts";
import type { Variables } from "./variables.ts";

/**
 * Milliseconds as a number, or a text with units (`ms`, `s`, `m`, `h`, `d`); at most 24 days.
 * @example "90s"
 * @example "1h30m"
 */
export type Duration = number | string;

/**
 * Bytes as a number, or a text with a unit (`k`, `m`, `g`, `t`), in steps of 1,024.
 * @example "512m"
 * @example "1.5g"
 */
export type Size = number | string;

/** A program and its arguments, each as it is: no shell sees them. */
export type Argv = readonly [program: string, ...args: string[]];

/** When an image is fetched: each time, where the engine does not have it, or never. */
export type Pull = "always" | "missing" | "never";

/**
 * Where a job's commands run, and what they may use. Without `container` and `ssh` they are processes of the runner; a
 * job moves between the three by that one line.
 */
export interface PlaceOptions {
  /**
   * Runs the commands in a container on the runner's machine: the image, or an object with more. `user`, `env`, `cwd`
   * and `limits` are those of the container. The job's own directory is there too, and is the one it starts in. Not
   * together with `ssh`, `nice` or `umask`. Default: no container.
   * @example container: "node:24"
   * @example container: { image: "node:24", services: { db: { image: "postgres:17", health: "pg_isready" } } }
   */
  readonly container?: string | ContainerOptions;
  /**
   * Runs the commands on a host that the runner reaches by ssh: `HOST`, `USER@HOST`, `USER@HOST:PORT`, or an object. The
   * host may be an alias of the runner's own ssh configuration; an IPv6 address with a port stands in brackets. Not
   * together with `container`, `user` or `limits`. Default: no other host.
   * @example ssh: "deploy@web1"
   * @example ssh: "root@[2001:db8::1]:2222"
   */
  readonly ssh?: string | SshOptions;
  /**
   * Who runs the commands: a name, or a number with or without a group, `1000:1000`. A process gets another user than
   * the runner's only where the runner is root. Not together with `ssh`, whose target names it. Default: the runner's
   * own; in a container the image's.
   * @example user: "node"
   */
  readonly user?: string;
  /**
   * What the job may use, all its processes together. Not together with `ssh`. Default: no limit.
   * @example limits: { memory: "2g", cpus: 1.5, pids: 500 }
   */
  readonly limits?: LimitOptions;
  /**
   * From -20 (served first) to 19 (served last); below 0 only where the runner is root. Not together with `container`.
   * Default: the runner's own.
   * @example nice: 10
   */
  readonly nice?: number;
  /**
   * The permissions that files the job makes do not get: octal digits as a text, or a number. Not together with
   * `container`. Default: the runner's own.
   * @example umask: "022"
   * @example umask: 0o022
   */
  readonly umask?: number | string;
}

/** What a job may use. */
export interface LimitOptions {
  /** At least 6 MiB. Beyond it the job is ended, and its exit says `out-of-memory`. */
  readonly memory?: Size;
  /** Cores, such as 1.5. */
  readonly cpus?: number;
  /** Processes and threads. */
  readonly pids?: number;
}

/** A host that the runner reaches by ssh. */
export interface SshOptions {
  /** An alias of the runner's ssh configuration, a name, or an address without brackets. */
  readonly host: string;
  /** Default: as the runner's ssh configuration has it, else the runner's own user. */
  readonly user?: string;
  /** Default: as the runner's ssh configuration has it, else 22. */
  readonly port?: number;
}

/** A container that a job runs in. */
export interface ContainerOptions {
  /** As an engine writes it: `alpine:3`, `ghcr.io/acme/app@sha256:…`. */
  readonly image: string;
  /** Default: `missing`. */
  readonly pull?: Pull;
  /** Replaces the image's own, whose arguments the command is. Default: the image's. */
  readonly entrypoint?: readonly string[];
  /**
   * Files and directories of the runner's machine, under the absolute path that each has in the container. They can be
   * read there, and changed only where `writable` is true. Default: none but the job's own directory.
   * @example mounts: { "/data": "/srv/data", "/root/.npm": { source: "/var/cache/npm", writable: true } }
   */
  readonly mounts?: Readonly<Record<string, string | MountOptions>>;
  /**
   * Paths where files are kept in memory. Default: none.
   * @example tmpfs: ["/tmp", { path: "/run", size: "64m" }]
   */
  readonly tmpfs?: readonly (string | TmpfsOptions)[];
  /** `none`, or a network of the engine by its name. Not together with `services`. Default: the engine's. */
  readonly network?: string;
  /** The size of /dev/shm. Default: the engine's, 64 MiB as a rule. */
  readonly shm?: Size;
  /** How many, or `all`. Default: none. */
  readonly gpus?: "all" | number;
  /** Whether the image's files can only be read; mounts and tmpfs are as they say. Default: false. */
  readonly readOnly?: boolean;
  /**
   * Linux capabilities beyond the engine's usual ones, and without some of them.
   * @example capabilities: { drop: ["ALL"], add: ["NET_BIND_SERVICE"] }
   */
  readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  /** Whether a program may get more rights than its caller, as `sudo` does. Default: false. */
  readonly newPrivileges?: boolean;
  /** All rights of the machine's root. Default: false. */
  readonly privileged?: boolean;
  /**
   * Where an image is for several. Default: the engine's.
   * @example platform: "linux/arm64"
   */
  readonly platform?: string;
  /**
   * Containers beside the job's own, under the name that is each one's address on the network that they share. They are
   * there, and healthy, before the first command starts, and gone after the last. What they write is in the job's log
   * as notes. Default: none.
   * @example services: { db: { image: "postgres:17", env: { POSTGRES_PASSWORD: "test" }, health: "pg_isready" } }
   */
  readonly services?: Readonly<Record<string, string | ServiceOptions>>;
}

/** Something of the runner's machine in a container. */
export interface MountOptions {
  /** An absolute path on the runner's machine. */
  readonly source: string;
  /** Whether the job may change it. Default: false. */
  readonly writable?: boolean;
}

/** Files kept in memory. */
export interface TmpfsOptions {
  /** An absolute path in the container. */
  readonly path: string;
  /** Default: half of the machine's memory. */
  readonly size?: Size;
}

/** A container beside a job's own. */
export interface ServiceOptions {
  /** As an engine writes it: `postgres:17`. */
  readonly image: string;
  /** Default: `missing`. */
  readonly pull?: Pull;
  /** Variables added to the image's: texts, and what `secret()` gave. Default: none. */
  readonly env?: Variables;
  /** Replaces the image's own. */
  readonly entrypoint?: readonly string[];
  /** Replaces the image's own. */
  readonly command?: readonly string[];
  /** Default: the image's. */
  readonly user?: string;
  /** As in a container. Default: none. */
  readonly tmpfs?: readonly (string | TmpfsOptions)[];
  /** Default: no limit. */
  readonly limits?: LimitOptions;
  /**
   * A command that exits 0 once the service can be used, run in it again and again: every second, or as `every` says.
   * Default: the image's own check, if it has one.
   * @example health: "pg_isready"
   * @example health: { run: ["redis-cli", "ping"], every: "200ms" }
   */
  readonly health?: string | ShellCommand | Argv | HealthOptions;
  /** A service that is not healthy by then, from its start, fails the job. Default: one minute. */
  readonly healthyWithin?: Duration;
}

/** How it is found out that a service can be used. */
export interface HealthOptions {
  readonly run: string | ShellCommand | Argv;
  /** From one check to the next. Default: a second. */
  readonly every?: Duration;
}

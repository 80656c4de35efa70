// What a request needs to be let do. Pure, and complete: the tables say of every field of a request what it needs, or why it
// needs nothing, and a field that is in no table is an error of types. admission.ts asks.
import { variableOf } from "../../protocol/delivered-secret.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import {
  type Container,
  type Place,
  placeOf,
  type ResourceLimits,
  type Service,
  type SshTarget,
} from "../../protocol/place.ts";
import { isDangerous } from "./kinds/env.ts";
import { mountValue } from "./kinds/mount.ts";
import { networkValue } from "./kinds/network.ts";
import { sshValue } from "./kinds/ssh.ts";
import type { Kind, Want } from "./policy.ts";

/** Kinds that the field is wanted by; or, as a sentence, why it can be had by everybody. */
type Treatment = readonly Kind[] | string;

export const jobFields = {
  attemptId: "A name; another peer's is none to the keeper.",
  run: "A name.",
  job: "A name.",
  attempt: "A number that the job is told.",
  steps: ["run", "shell"],
  driven: "It runs nothing itself: each of its commands is a request of its own.",
  within: "Names a job of the same peer; what is wanted is decided by where that one runs.",
  env: ["env"],
  secrets: ["secret", "env"],
  container: ["image", "mount", "privileged", "network", "user"],
  ssh: ["ssh"],
  cwd: ["cwd"],
  user: ["user"],
  limits: ["privileged"],
  nice: "Below 0 only where the runner's user may, and then it is a matter of order among processes.",
  umask: "Of the files that the job itself makes.",
  timeoutMs: "Ends the job sooner.",
  graceMs: "Bounded, and the runner's owner can end any job.",
  leaseMs: "How long it goes on alone, in its own slots.",
  slots: "At most those that the runner has.",
  stdin: "Bytes for the command that was allowed.",
} as const satisfies Record<keyof JobRequest, Treatment>;

const IN_THE_IMAGE = "What is in the image, and may be run there, is granted with the image.";

export const containerFields = {
  image: ["image"],
  pull: "Of the image that was allowed.",
  entrypoint: IN_THE_IMAGE,
  mounts: ["mount"],
  tmpfs: "Memory of the container, under its limit.",
  network: ["network"],
  shm: "Memory of the container.",
  gpus: ["privileged"],
  readOnly: "Takes from the job.",
  capabilities: ["privileged"],
  newPrivileges: ["privileged"],
  privileged: ["privileged"],
  platform: "Which of the image's variants.",
  services: ["image", "privileged", "user"],
} as const satisfies Record<keyof Container, Treatment>;

export const serviceFields = {
  name: "An address on a network that only the job has.",
  image: ["image"],
  pull: "Of the image that was allowed.",
  entrypoint: IN_THE_IMAGE,
  command: IN_THE_IMAGE,
  env: IN_THE_IMAGE,
  user: ["user"],
  tmpfs: "Memory of the container, under its limit.",
  limits: ["privileged"],
  health: IN_THE_IMAGE,
  healthyWithinMs: "A time to wait.",
} as const satisfies Record<keyof Service, Treatment>;

export const sshFields = {
  host: ["ssh"],
  user: ["ssh"],
  port: ["ssh"],
} as const satisfies Record<keyof SshTarget, Treatment>;

/** What is longer is a peer's joke: the beginning tells enough. */
const LONGEST_SHOWN = 100;
const shown = (text: string): string => (text.length > LONGEST_SHOWN ? `${text.slice(0, LONGEST_SHOWN)}…` : text);
const quoted = (text: string): string => JSON.stringify(shown(text));

/** Each once. `place`: of a command within, where its driven job runs. */
export function wantsOf(request: JobRequest, place: Place = placeOf(request)): Want[] {
  const { container, ssh, user, secrets = [] } = request;
  const wants = [
    ...secrets.map(({ name }): Want => ({ kind: "secret", value: name, what: `give the job the secret ${name}` })),
    // In a container and on another host any program may be run: that is granted with the image, and with the host.
    ...(place === "local" ? localWants(request) : []),
    ...(container ? containerWants(container, request.limits) : []),
    ...(ssh ? [sshWant(ssh)] : []),
    ...(user === undefined ? [] : [userWant(user)]),
  ];
  return [...new Map(wants.map((want) => [`${want.kind} ${want.value}`, want])).values()];
}

function localWants({ steps, env, secrets = [], cwd }: JobRequest): Want[] {
  const variables = [
    ...env.map(([name]) => name),
    // The path in NAME_FILE is the runner's own, and granted with the secret; where programs read settings from the file
    // of that name, what stands in it is not.
    ...secrets
      .filter((secret) => secret.as === "env" || isDangerous(variableOf(secret) ?? ""))
      .flatMap((secret) => variableOf(secret) ?? []),
  ];
  return [
    ...steps.map(
      (step): Want =>
        "argv" in step
          ? { kind: "run", value: step.argv[0] ?? "", what: `run ${quoted(step.argv[0] ?? "")}` }
          : // Never the command itself, which may hold anything.
            { kind: "shell", value: "", what: "run a shell command" },
    ),
    ...variables.map((name): Want => ({ kind: "env", value: name, what: `set the variable ${shown(name)}` })),
    ...(cwd === undefined ? [] : [{ kind: "cwd", value: cwd, what: `run in ${quoted(cwd)}` } as const]),
  ];
}

const userWant = (user: string): Want => ({ kind: "user", value: user, what: `run as the user ${user}` });

function sshWant(target: SshTarget): Want {
  const value = sshValue(target);
  return { kind: "ssh", value, what: `run on ${shown(value)} by ssh` };
}

function containerWants(container: Container, own: ResourceLimits | undefined): Want[] {
  const { image, mounts, network, gpus, capabilities, newPrivileges, privileged, services } = container;
  const more = (value: string, what: string): Want => ({ kind: "privileged", value, what: `${what} in a container` });
  const images = new Set([image, ...services.map((service) => service.image)]);
  return [
    ...[...images].map((name): Want => ({ kind: "image", value: name, what: `run a container of ${shown(name)}` })),
    ...mounts.map(
      ({ source, readOnly }): Want => ({
        kind: "mount",
        value: mountValue(source, readOnly),
        what: `mount ${quoted(source)}${readOnly ? " to read" : " to write"}`,
      }),
    ),
    // One that asks for no network has none, unless the policy grants the engine's usual one: see confine.ts.
    ...(network === undefined || network === "none"
      ? []
      : [{ kind: "network", value: networkValue(network), what: `use the network ${network}` } as const]),
    ...(privileged ? [more("privileged", "have all rights of the engine")] : []),
    ...(newPrivileges ? [more("new-privileges", "get new privileges")] : []),
    ...(gpus === undefined ? [] : [more("gpus", "use the GPUs")]),
    ...capabilities.add.map((name) => more(`cap:${name.replace(/^CAP_/, "")}`, `have the capability ${name}`)),
    ...([own, ...services.map((service) => service.limits)].some(beyondUsual)
      ? [more("limits", "have more memory, cores or processes than usual")]
      : []),
    ...services.flatMap(({ user }) => (user === undefined ? [] : [userWant(user)])),
  ];
}

const beyondUsual = ({ memory = 0, cpus = 0, pids = 0 }: ResourceLimits = {}): boolean =>
  memory > limits.confinedMemoryBytes || cpus > limits.confinedCpus || pids > limits.confinedPids;

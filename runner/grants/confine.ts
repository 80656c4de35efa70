// What the containers of a job are held to under a policy: whatever is not granted is not there, also where nobody asks.
// Pure; admission.ts asks, once the job itself is allowed. Where everything is allowed, engines' own defaults hold.
import type { Confinement } from "../../protocol/confinement.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { decide, isUnlimited, type Section } from "./decide.ts";
import type { Kind } from "./policy.ts";

/** Those that Docker and Podman both give every container (Docker's three more, MKNOD, NET_RAW and AUDIT_WRITE, are asked for). */
const USUAL = [
  "CHOWN",
  "DAC_OVERRIDE",
  "FOWNER",
  "FSETID",
  "KILL",
  "NET_BIND_SERVICE",
  "SETFCAP",
  "SETGID",
  "SETPCAP",
  "SETUID",
  "SYS_CHROOT",
];

const USUAL_LIMITS = { memory: limits.confinedMemoryBytes, cpus: limits.confinedCpus, pids: limits.confinedPids };

export function confinementOf(sections: readonly Section[], { container }: JobRequest): Confinement | undefined {
  if (!container || isUnlimited(sections)) return undefined;
  const granted = (kind: Kind, value: string): boolean => decide(sections, { kind, value, what: "" }).allowed;
  return {
    capabilities: USUAL.filter((name) => granted("privileged", `cap:${name}`)),
    ...(granted("network", "bridge") ? {} : { network: "none" as const }),
    ...(["root", "0", "0:0", "root:root"].some((name) => granted("user", name)) ? {} : { user: "not-root" as const }),
    ...(granted("privileged", "limits") ? {} : { limits: USUAL_LIMITS }),
    mounts: "real",
  };
}

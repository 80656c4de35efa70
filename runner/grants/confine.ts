// What the containers of a job are held to under a policy: whatever is not granted is not there, also where nobody asks.
// Pure; admission.ts asks, once the job itself is allowed. Where everything is allowed, engines' own defaults hold.
import type { Confinement } from "../../protocol/confinement.ts";
import { limits } from "../../protocol/limits.ts";
import type { JobRequest } from "../../protocol/messages.ts";
import { decide, isUnlimited, type Section } from "./decide.ts";
import type { Kind } from "./policy.ts";

/** Those that Docker gives every container; Podman gives some of them. https://docs.docker.com/engine/containers/run/#runtime-privilege-and-linux-capabilities */
const USUAL = [
  ...["AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD", "NET_BIND_SERVICE", "NET_RAW"],
  ...["SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"],
];

const USUAL_LIMITS = { memory: limits.confinedMemoryBytes, cpus: limits.confinedCpus, pids: limits.confinedPids };

export function confinementOf(sections: readonly Section[], { container }: JobRequest): Confinement | undefined {
  if (!container || isUnlimited(sections)) return undefined;
  const granted = (kind: Kind, value: string): boolean => decide(sections, { kind, value, what: "" }).allowed;
  const kept = USUAL.filter((name) => granted("privileged", `cap:${name}`));
  return {
    ...(kept.length === USUAL.length ? {} : { capabilities: kept }),
    ...(granted("network", "bridge") ? {} : { network: "none" as const }),
    ...(["root", "0", "0:0", "root:root"].some((name) => granted("user", name)) ? {} : { user: "not-root" as const }),
    ...(granted("privileged", "limits") ? {} : { limits: USUAL_LIMITS }),
    mounts: "real",
  };
}

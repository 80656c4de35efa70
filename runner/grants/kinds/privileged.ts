// The grant `privileged`: what a container may have beyond a confined one. Devices, and the host's namespaces of processes,
// of users and of shared memory, no job can ask for at all.
import { badItem, type KindRules } from "./kind.ts";

const VALUES = ["privileged", "new-privileges", "gpus", "limits"];

export const privilegedRules: KindRules<string> = {
  parse(text) {
    const name = text.replace(/^cap:CAP_/, "cap:");
    if (!VALUES.includes(name) && !/^cap:[A-Z_]{1,40}$/.test(name))
      throw badItem("privileged", text, `${VALUES.join(", ")}, or a capability such as cap:NET_ADMIN`);
    return name;
  },
  matches: (item, value) => item === value || (item === "cap:ALL" && value.startsWith("cap:")),
  // What has all of them has the one that is denied.
  denies: (item, value) =>
    privilegedRules.matches(item, value) ||
    (value === "privileged" && item !== "limits") ||
    (value === "cap:ALL" && item.startsWith("cap:")),
  means: (value) => privilegedRules.warning?.(value),
  warning(item) {
    if (item === true || item === "privileged")
      return "a privileged container can do everything that the engine's user can: mostly root";
    return /^cap:(ALL|SYS_ADMIN|SYS_MODULE|SYS_PTRACE|SYS_RAWIO|DAC_READ_SEARCH|BPF)$/.test(item)
      ? `a container with ${item.slice(4)} can leave it, and is as good as root`
      : undefined;
  },
};

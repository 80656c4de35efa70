// The grant `network`: which networks a job's containers may ask for, by name: `bridge` is the engine's usual one, `host` the
// machine's own. Without a grant of `bridge` a container that asks for none has none: see confine.ts.
import { badItem, type KindRules } from "./kind.ts";

/** Engines call their usual network by two names. */
export const networkValue = (name: string): string => (name === "default" ? "bridge" : name);

export const networkRules: KindRules<string> = {
  parse(text) {
    if (!/^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/.test(text))
      throw badItem("network", text, "none, bridge, host, or a network's name");
    return networkValue(text);
  },
  matches: (item, value) => item === value,
  // Engines take the beginning of an id as well, which may be that of a network that is denied.
  denies: (item, value) => item === value || /^[0-9a-f]+$/.test(value),
  means: (value) => networkRules.warning?.(value),
  warning: (item) =>
    item === true
      ? "containers reach every network that this machine does, and with `host` whatever listens on this machine alone"
      : item === "host"
        ? "a container in the network `host` reaches whatever listens on this machine alone"
        : undefined,
};

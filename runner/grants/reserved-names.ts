// Names that the policy file speaks of are given by the runner's owner, never taken by whoever comes: a coordinator says
// itself what it wants to be called, and would have the grants of the name.
import type { Trust } from "../../protocol/trust.ts";

/** The same trust, but for what a new peer is called. `names`: whether the policy speaks of a name that fits. */
export const withReservedNames = (
  trust: Trust,
  names: (fits: (name: string) => boolean) => boolean,
  log: (line: string) => void,
): Trust => ({
  ...trust,
  pin(peer, name, addresses, group) {
    // Where the name is taken, the next free one is like it: with a number behind it.
    const isReserved = names((one) => one === name || one.startsWith(`${name.slice(0, 56)}-`));
    if (trust.get(peer) || !isReserved) return trust.pin(peer, name, addresses, group);
    const pin = trust.pin(peer, `new-${peer.slice(-8)}`, addresses, group);
    log(
      `the policy speaks of ${name}, so the new coordinator is called ${pin.name}: \`runner trust rename ${pin.name} ${name}\` makes it that one`,
    );
    return pin;
  },
});

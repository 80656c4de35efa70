// Hosts whose pairings failed again and again: each further failure closes the door to that host for longer, while others
// pair. pair-door.ts asks it before every pairing. Bounded: it remembers so many hosts, and for so long.
import { limits } from "./limits.ts";

export interface Slowdown {
  /** Whether this host has to wait. */
  slowed(host: string): boolean;
  /** One more failure; gives how long the host has to wait now, in milliseconds. */
  failed(host: string): number;
}

interface Failures {
  readonly count: number;
  readonly lastAt: number;
}

/** `now` is a clock in milliseconds that never goes back. */
export function createSlowdown(now: () => number = () => performance.now()): Slowdown {
  /** The one that failed longest ago is first, and the first to be forgotten. */
  const hosts = new Map<string, Failures>();
  const remembered = (host: string): Failures | undefined => {
    const failures = hosts.get(host);
    return failures && now() - failures.lastAt < limits.failedPairingsWindowMs ? failures : undefined;
  };
  return {
    slowed(host) {
      const failures = remembered(host);
      return failures !== undefined && now() - failures.lastAt < waitMsAfter(failures.count);
    },
    failed(host) {
      const count = (remembered(host)?.count ?? 0) + 1;
      hosts.delete(host);
      hosts.set(host, { count, lastAt: now() });
      const [first] = hosts.keys();
      if (hosts.size > limits.failedPairingsHosts && first !== undefined) hosts.delete(first);
      return waitMsAfter(count);
    },
  };
}

function waitMsAfter(failures: number): number {
  const beyond = failures - limits.failedPairingsFree;
  return beyond < 0 ? 0 : Math.min(limits.failedPairingsWindowMs, limits.failedPairingsWaitMs * 2 ** beyond);
}

/**
 * What counts as one host: an IPv4 address, also where it is written as IPv6, and of IPv6 the first 64 bits, for whoever
 * has one address of those has them all.
 */
export function hostOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1];
  if (mapped !== undefined) return mapped;
  if (!address.includes(":")) return address;
  const [head = "", tail] = address.toLowerCase().split("::");
  const first = head === "" ? [] : head.split(":");
  const last = tail ? tail.split(":") : [];
  const zeros = tail === undefined ? [] : Array<string>(Math.max(0, 8 - first.length - last.length)).fill("0");
  const network = [...first, ...zeros, ...last].slice(0, 4);
  return `${network.map((part) => Number.parseInt(part, 16).toString(16)).join(":")}::/64`;
}

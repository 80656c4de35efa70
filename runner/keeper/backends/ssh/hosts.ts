// The hosts that jobs use now, one of each, and the ways to them: nothing is kept of a host that nobody uses any more.
// ssh.ts asks for them.
import { limits } from "../../../../protocol/limits.ts";
import type { SshTarget } from "../../../../protocol/place.ts";
import { Refused } from "../backend.ts";
import { type HostSessions, type HostTimes, hostSessions } from "./sessions.ts";
import { resolveWay, type Way } from "./target.ts";
import { unless } from "./unless.ts";

export interface Held {
  readonly host: HostSessions;
  /** Idempotent. */
  release(): void;
}

export interface Hosts {
  /** Hosts that are used, or have a connection still. */
  readonly size: number;
  /** Rejects with Refused, or at once with the signal's reason. */
  hold(target: SshTarget, cancelled: AbortSignal): Promise<Held>;
  close(): Promise<void>;
}

interface Entry {
  readonly host: HostSessions;
  users: number;
}

/** `config` replaces the user's own configuration file. */
export function openHosts(config: string | undefined, times: HostTimes): Hosts {
  const ways = new Map<string, { readonly way: Promise<Way>; readonly until: number }>();
  const entries = new Map<string, Entry>();
  let closed = false;

  function wayTo(target: SshTarget): Promise<Way> {
    for (const [old, { until }] of ways) if (until <= performance.now()) ways.delete(old);
    const key = JSON.stringify([target.host, target.user, target.port]);
    const kept = ways.get(key);
    if (kept) return kept.way;
    const way = resolveWay(target, config);
    const fresh = { way, until: performance.now() + limits.sshConfigKeptMs };
    ways.set(key, fresh);
    way.catch(() => {
      if (ways.get(key) === fresh) ways.delete(key);
    });
    return way;
  }

  function entryOf(way: Way, key: string): Entry {
    const there = entries.get(key);
    if (there) return there;
    const entry: Entry = { host: hostSessions(way, times, () => forget(key, entry)), users: 0 };
    entries.set(key, entry);
    return entry;
  }

  function forget(key: string, entry: Entry): void {
    if (entry.users === 0 && entry.host.empty() && entries.get(key) === entry) entries.delete(key);
  }

  return {
    get size() {
      return entries.size;
    },
    async hold(target, cancelled) {
      const way = await unless(cancelled, wayTo(target));
      if (closed) throw new Refused("host", "the runner is leaving");
      const key = JSON.stringify(way);
      const entry = entryOf(way, key);
      entry.users++;
      let held = true;
      return {
        host: entry.host,
        release() {
          if (held) entry.users--;
          held = false;
          forget(key, entry);
        },
      };
    },
    async close() {
      closed = true;
      await Promise.all([...entries.values()].map(({ host }) => host.close()));
      entries.clear();
    },
  };
}

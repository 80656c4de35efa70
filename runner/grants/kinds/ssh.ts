// The grant `ssh`: on which hosts jobs may run, as `user@host[:port]`, with `*` within one label of the host. A host is
// compared as the job names it, an alias by its alias: what that means is the runner's own ssh configuration's business.
// Where a job names no user, or no port, the one that the configuration gives counts.
import type { SshTarget } from "../../../protocol/place.ts";
import { resolveWay } from "../../keeper/backends/ssh/target.ts";
import { badItem, type KindRules } from "./kind.ts";
import { fits, fitsSegment } from "./wildcard.ts";

interface SshItem {
  readonly user: string;
  readonly host: string;
  readonly port: string | undefined;
}

/** No host is called so: where an alias goes to cannot be told now. */
const UNKNOWN = "";

/** `[user@]host[:port]`, an address with colons in brackets. */
export const sshValue = ({ user, host, port }: SshTarget): string =>
  `${user === undefined ? "" : `${user}@`}${host.includes(":") ? `[${host}]` : host}${port === undefined ? "" : `:${port}`}`;

/** A user's name may have an @, a host has none. */
function parse(text: string): { user: string | undefined; host: string; port: string | undefined } | undefined {
  const [, user, bracketed, plain, port] =
    /^(?:(.+)@)?(?:\[([0-9A-Za-z:.%*]+)\]|([0-9A-Za-z_.%*-]+))(?::(\d+|\*))?$/.exec(text) ?? [];
  const host = bracketed ?? plain;
  return host === undefined || host.startsWith("-") ? undefined : { user, host, port };
}

export const sshRules: KindRules<SshItem> = {
  async resolve(value) {
    const asked = parse(value);
    if (!asked) return { names: [] };
    const { host } = asked;
    try {
      const user = asked.user === undefined ? {} : { user: asked.user };
      const hop = (await resolveWay({ host, ...user }, process.env["SORTIE_SSH_CONFIG"] || undefined)).at(-1);
      if (!hop?.user) return { names: [] };
      const port = Number(asked.port ?? hop.port);
      const called = (name: string): string[] => [
        sshValue({ user: hop.user, host: name, port }),
        // The usual one need not be named.
        ...(port === hop.port ? [sshValue({ user: hop.user, host: name })] : []),
      ];
      return { names: called(host), also: called(hop.hostname) };
    } catch {
      // The keeper says what is wrong with the host's configuration, where this much is granted.
      // Whether it is one that is denied, nobody knows.
      return { names: asked.user === undefined ? [] : [value], also: [UNKNOWN] };
    }
  },
  parse(text) {
    const { user, host = "", port } = parse(text) ?? {};
    if (user === undefined || user.startsWith("-") || host.includes("**"))
      throw badItem("ssh", text, "user@host or user@host:port, such as deploy@web* or *@10.0.0.5:2222");
    return { user, host, port };
  },
  matches(item, value) {
    const { user = "", host = "", port } = parse(value) ?? {};
    return (
      (item.port === port || (item.port === "*" && port !== undefined)) &&
      fitsSegment(item.user, user) &&
      fits(item.host, host, /([.:])/)
    );
  },
  // Every port where none is said; and names of hosts as DNS takes them.
  denies(item, value) {
    if (value === UNKNOWN) return true;
    const { user = "", host = "", port } = parse(value) ?? {};
    const plain = (name: string): string => name.toLowerCase().replace(/\.$/, "");
    return (
      (item.port === undefined || item.port === "*" || item.port === port) &&
      fitsSegment(item.user, user) &&
      fits(plain(item.host), plain(host), /([.:])/)
    );
  },
  itemFor: (value) => (parse(value)?.user === undefined ? `*@${value}` : value),
  warning: (item) =>
    item === true
      ? "jobs run any command on every host that this user's ssh reaches with the keys that it has"
      : undefined,
};

// Where a job's commands run and what they may use: the options that say it, checked, and as they are sent. job() calls
// it to throw at the recipe's line, plan.ts for the result, and exec for options of its own.
import { JobRequest } from "../../protocol/messages.ts";
import { SshTarget } from "../../protocol/place.ts";
import { accept, checkNames, isRecord, shown, type Wrong } from "./check.ts";
import { containerOf } from "./check-container.ts";
import { limitsOf, userOf } from "./check-limits.ts";
import type { PlaceOptions, SshOptions } from "./place.ts";

/** As a runner is asked for it. */
export type Place = Pick<JobRequest, "container" | "ssh" | "user" | "limits" | "nice" | "umask">;

const sshNames = ["host", "user", "port"] satisfies (keyof SshOptions)[];
const { nice: Nice, umask: Umask } = JobRequest.entries;

/** Throws what `wrong` makes of the first thing that cannot be. */
export function placeOf(options: { readonly [Name in keyof PlaceOptions]?: unknown }, wrong: Wrong): Place {
  const { container, ssh, user, limits, nice, umask } = options;
  if (container !== undefined && ssh !== undefined)
    throw wrong("A job has a container or ssh, not both: for a container on another machine, start a runner there.");
  if (ssh !== undefined && user !== undefined)
    throw wrong(`user cannot stand beside ssh, whose target names it: write ssh: "${String(user)}@HOST".`);
  if (ssh !== undefined && limits !== undefined)
    throw wrong("limits cannot stand beside ssh, for nothing keeps them there: start a runner on that host.");
  if (container !== undefined && nice !== undefined)
    throw wrong("nice cannot stand beside container: write it into the command, or give the container limits.cpus.");
  if (container !== undefined && umask !== undefined)
    throw wrong("umask cannot stand beside container: begin the command with it, as in sh`umask 022; …`.");
  return {
    ...(container === undefined ? {} : { container: containerOf(container, wrong) }),
    ...(ssh === undefined ? {} : { ssh: sshOf(ssh, wrong) }),
    ...(user === undefined ? {} : { user: userOf("user", user, wrong) }),
    ...(limits === undefined ? {} : { limits: limitsOf("limits", limits, wrong) }),
    ...(nice === undefined ? {} : { nice: accept(Nice, "nice", nice, "a whole number from -20 to 19", wrong) }),
    ...(umask === undefined ? {} : { umask: umaskOf(umask, wrong) }),
  };
}

function sshOf(value: unknown, wrong: Wrong): SshTarget {
  const target = typeof value === "string" ? partsOf(value) : value;
  if (!isRecord(target))
    throw wrong(`ssh must be "HOST", "USER@HOST", "USER@HOST:PORT" or an object, not ${shown(value)}.`);
  checkNames("ssh", target, sshNames, wrong);
  const { host, user, port } = SshTarget.entries;
  return {
    host: accept(host, "ssh's host", target["host"], "a name or an address", wrong),
    user: accept(user, "ssh's user", target["user"], "a user's name", wrong),
    port: accept(port, "ssh's port", target["port"], "a number from 1 to 65,535", wrong),
  };
}

/** A colon begins the port, unless there are several: then it is an IPv6 address, which has a port in brackets only. */
function partsOf(text: string): { host: string; user?: string; port?: number } {
  const at = text.lastIndexOf("@");
  const place = text.slice(at + 1);
  const [, bracketed, bare, port] = /^(?:\[([^\]]*)\]|([^:]*))(?::([^:]*))?$/.exec(place) ?? [];
  return {
    host: bracketed ?? bare ?? place,
    ...(at < 0 ? {} : { user: text.slice(0, at) }),
    ...(port === undefined ? {} : { port: /^\d+$/.test(port) ? Number(port) : Number.NaN }),
  };
}

function umaskOf(value: unknown, wrong: Wrong): Place["umask"] {
  const bits = typeof value === "string" && /^[0-7]{1,4}$/.test(value) ? Number.parseInt(value, 8) : value;
  return accept(Umask, "umask", bits, 'octal digits such as "022", or a number such as 0o022', wrong);
}

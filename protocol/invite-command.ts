// `runner invite`: a URL, also as a QR code, or a short code to be told to somebody.
import * as v from "valibot";
import type { CommandModule } from "./command-entry.ts";
import { SortieError } from "./errors.ts";
import { homeOf } from "./home.ts";
import { openInvites } from "./invite.ts";
import { parseTtl } from "./invite-ttl.ts";
import { limits } from "./limits.ts";
import { qrLines, roomOf } from "./qr.ts";
import { GroupName } from "./trust.ts";

interface Options {
  readonly ttl: string;
  readonly address: string[] | undefined;
  readonly group: string | undefined;
  readonly code: boolean;
  readonly qr: boolean;
  readonly json: boolean;
}

export interface InviteCommand {
  readonly side: "runner" | "coordinator";
  /** The one that listens on this folder. Throws where none does. */
  readonly listening: (folder: string) => { readonly peer: string; readonly addresses: readonly string[] };
  /** What the other side types, with a code. */
  readonly command: (code: string, address: string) => string;
  /** Whether the other side's part of a policy can be named. */
  readonly groups: boolean;
}

export function inviteCommand({ side, listening, command, groups }: InviteCommand): CommandModule<Options> {
  return {
    builder: (yargs) => {
      const options = yargs
        .option("ttl", { type: "string", default: "10m", describe: "How long the invite lives: 90s, 10m, 2h, 1d" })
        .option("address", {
          type: "string",
          array: true,
          describe: "Multiaddr under which this side is reached, where it is not the one it listens on",
        })
        .option("group", {
          alias: "policy",
          type: "string",
          hidden: !groups,
          describe: "The group that the coordinator belongs to: whose grants it has, by the runner's policy file",
        })
        .option("code", {
          type: "boolean",
          default: false,
          describe: "A short code to tell somebody instead: ten minutes at most, three tries, one at a time",
        })
        .option("qr", {
          type: "boolean",
          default: false,
          describe: "Show it as a QR code too, also where it is not in a terminal, or too small",
        })
        .option("json", { type: "boolean", default: false, describe: "Print JSON" })
        .example("$0 invite", "prints a URL, good for ten minutes and one use")
        .example("$0 invite --code", "prints 7-K3MP-9XQ2 or the like, and what the other side types")
        .example(
          "$0 invite --ttl 1d --address /dns4/w1.example/tcp/7700",
          "for somebody who comes later, from elsewhere",
        );
      return options;
    },
    async handler({ ttl, address, group, code, qr, json }) {
      if (code && qr) throw new SortieError("USAGE", "A code is told; --qr is for the URL.");
      const ttlMs = parseTtl(ttl);
      if (code && ttlMs > limits.codeTtlMs) throw new SortieError("USAGE", "A code lives for ten minutes at most.");
      if (group !== undefined && !v.is(GroupName, group))
        throw new SortieError(
          "USAGE",
          `--group takes a name of letters, digits and _.-, not ${JSON.stringify(group)}.`,
        );
      const folder = homeOf(side);
      const { peer, addresses: own } = listening(folder);
      const addresses = address ?? own;
      const invites = openInvites(folder);
      const of = group === undefined ? {} : { group };
      if (code) {
        const [first] = addresses;
        if (first === undefined)
          throw new SortieError("USAGE", "A code needs an address that the other side can dial.");
        const issued = invites.codes.issue(ttlMs, group);
        const at = first.replace(/\/p2p\/[^/]*$/, "");
        if (json) return print({ ...issued, peer, addresses, ...of });
        process.stdout.write(`${issued.code}\n  ${command(issued.code, at)}\n`);
        return;
      }
      const expiresAt = Date.now() + ttlMs;
      const url = invites.issue(peer, addresses, ttlMs, group);
      if (json) return print({ url, peer, addresses, expiresAt, ...of });
      process.stdout.write(`${url}\n`);
      const room = roomOf(process.stdout);
      const lines = qr || room ? await qrLines(url, qr ? undefined : room) : undefined;
      if (lines) process.stdout.write(`${lines.join("\n")}\n`);
    },
  };
}

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

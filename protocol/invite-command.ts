// `runner invite` and `coordinator invite`: a URL, also as a QR code, or a short code to be told to somebody.
import * as v from "valibot";
import type { Argv } from "yargs";
import { exitCodes, SortieError } from "./errors.ts";
import { homeOf } from "./home.ts";
import { openInvites, parseInvite } from "./invite.ts";
import { parseTtl } from "./invite-ttl.ts";
import { limits } from "./limits.ts";
import { qrLines, roomOf } from "./qr.ts";
import { GroupName } from "./trust.ts";

export interface InviteOptions {
  readonly ttl: string;
  readonly address: string[] | undefined;
  readonly group: string | undefined;
  readonly code: boolean;
  readonly qr: boolean;
  readonly json: boolean;
}

/** An invite, or a code, that was made and shown. */
export interface Issued {
  /** Milliseconds since the epoch. */
  readonly expiresAt: number;
  /** The peer that used it; `undefined` while nobody has. */
  usedBy(): string | undefined;
  withdraw(): void;
}

export interface Listening {
  readonly peer: string;
  readonly addresses: readonly string[];
  /** Where the command itself answers it: resolves with the exit code once it was used, or is over. */
  readonly answer?: (issued: Issued) => Promise<number>;
  readonly close?: () => Promise<void>;
}

export interface InviteCommand<Options extends InviteOptions> {
  readonly side: "runner" | "coordinator";
  /** The one that listens on this folder. Throws where none does. */
  readonly listening: (folder: string, options: Options) => Listening | Promise<Listening>;
  /** What the other side types, with a code. */
  readonly command: (code: string, address: string) => string;
  /** Whether the other side's part of a policy can be named. */
  readonly groups: boolean;
}

/** Its options are those that are everybody's; whoever has more adds them to the builder's. */
export function inviteCommand<Options extends InviteOptions = InviteOptions>({
  side,
  listening,
  command,
  groups,
}: InviteCommand<Options>) {
  return {
    builder: (yargs: Argv) => {
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
    async handler(given: Options): Promise<number> {
      const { ttl, address, group, code, qr, json } = given;
      if (code && qr) throw new SortieError("USAGE", "A code is told; --qr is for the URL.");
      const ttlMs = parseTtl(ttl);
      if (code && ttlMs > limits.codeTtlMs) throw new SortieError("USAGE", "A code lives for ten minutes at most.");
      if (group !== undefined && !v.is(GroupName, group))
        throw new SortieError(
          "USAGE",
          `--group takes a name of letters, digits and _.-, not ${JSON.stringify(group)}.`,
        );
      const folder = homeOf(side);
      const { peer, addresses: own, answer, close } = await listening(folder, given);
      const addresses = address ?? own;
      const invites = openInvites(folder);
      const of = group === undefined ? {} : { group };

      function makeCode(): Issued {
        if (addresses.length === 0)
          throw new SortieError("USAGE", "A code needs an address that the other side can dial.");
        const issued = invites.codes.issue(ttlMs, group);
        const at = fromElsewhere(addresses).map((one) => one.replace(/\/p2p\/[^/]*$/, ""));
        const lines = [...new Set(at)].map((one) => `  ${command(issued.code, one)}\n`);
        if (json) print({ ...issued, peer, addresses, ...of });
        else process.stdout.write(`${issued.code}\n${lines.join("  or\n")}`);
        return {
          expiresAt: issued.expiresAt,
          usedBy: () => invites.codes.usedBy(issued.code),
          withdraw: () => invites.codes.withdraw(issued.code),
        };
      }

      async function makeUrl(): Promise<Issued> {
        const url = invites.issue(peer, addresses, ttlMs, group);
        const { id, expiresAt } = parseInvite(url);
        if (json) print({ url, peer, addresses, expiresAt, ...of });
        else {
          process.stdout.write(`${url}\n`);
          const room = roomOf(process.stdout);
          const lines = qr || room ? await qrLines(url, qr ? undefined : room) : undefined;
          if (lines) process.stdout.write(`${lines.join("\n")}\n`);
        }
        return { expiresAt, usedBy: () => invites.usedBy(id), withdraw: () => invites.withdraw(id) };
      }

      try {
        const issued = code ? makeCode() : await makeUrl();
        return (await answer?.(issued)) ?? exitCodes.passed;
      } finally {
        await close?.();
      }
    },
  };
}

/** Who listens on every interface is found at the loopback address too, which another machine has nothing of. */
function fromElsewhere(addresses: readonly string[]): readonly string[] {
  const others = addresses.filter((address) => !/^\/(ip4\/127\.|ip6\/::1\/)/.test(address));
  return others.length > 0 ? others : addresses;
}

const print = (value: unknown): void => void process.stdout.write(`${JSON.stringify(value)}\n`);

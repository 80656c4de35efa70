// `trust list | revoke | rename`, the same for both sides.

import type { CommandModule } from "./command-entry.ts";
import { SortieError } from "./errors.ts";
import { homeOf } from "./home.ts";
import { jsonLine } from "./text.ts";
import { openTrust, type Pin } from "./trust.ts";

interface Options {
  readonly action: keyof typeof takes;
  readonly peer: string | undefined;
  readonly name: string | undefined;
  readonly json: boolean;
}

/** What each action takes; `remove` is another word for `revoke`. */
const takes = {
  list: [0, "no peer"],
  revoke: [1, "one peer, by name or ID"],
  remove: [1, "one peer, by name or ID"],
  rename: [2, "a peer, and its new name"],
} as const;

export function trustCommand(side: "runner" | "coordinator"): CommandModule<Options> {
  return {
    builder: (yargs) =>
      yargs
        .positional("action", {
          choices: ["list", "revoke", "remove", "rename"] as const,
          demandOption: true,
          describe: "What to do; remove is another word for revoke",
        })
        .positional("peer", { type: "string", describe: "A name, or a prefix or the end of a peer ID" })
        .positional("name", { type: "string", describe: "The new name, for rename" })
        .option("json", { type: "boolean", default: false, describe: "Print JSON" })
        .example("$0 trust list", "who is trusted, and since when")
        .example("$0 trust revoke w1", "it is not, from now on: its connections and calls end, and jobs it runs here")
        .example("$0 trust rename w1 gpu-1", "only here, and only the name"),
    async handler({ action, peer, name, json }) {
      const [expected, what] = takes[action];
      const given = [peer, name].filter((one) => one !== undefined).length;
      if (given !== expected)
        throw new SortieError("USAGE", `trust ${action} takes ${what}.`, {
          hint: `See ${side} trust --help.`,
        });
      const trust = openTrust(homeOf(side));
      const print = (text: string, value: unknown): void =>
        void process.stdout.write(json ? `${jsonLine(value)}\n` : text);
      if (action === "list") {
        const pins = trust.list();
        return print(pins.map(lineOf).join(""), pins);
      }
      const pin = trust.find(peer ?? "");
      if (action === "rename") {
        trust.rename(pin.peer, name ?? "");
        return print(`${pin.name} is now called ${name}.\n`, { ...pin, name });
      }
      trust.remove(pin.peer);
      print(`${pin.name} is no longer trusted.\n`, pin);
    },
  };
}

const lineOf = ({ name, peer, group, pinnedAt }: Pin): string =>
  `${name}  ${peer}${group === undefined ? "" : `  group ${group}`}  since ${new Date(pinnedAt).toISOString()}\n`;

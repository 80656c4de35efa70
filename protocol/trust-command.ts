// `trust list | remove | rename`, the same for both sides.

import type { CommandModule } from "./command-entry.ts";
import { SortieError } from "./errors.ts";
import { homeOf } from "./home.ts";
import { openTrust } from "./trust.ts";

interface Options {
  readonly action: "list" | "remove" | "rename";
  readonly peer: string | undefined;
  readonly name: string | undefined;
  readonly json: boolean;
}

const takes = { list: "no peer", remove: "one peer, by name or ID", rename: "a peer, and its new name" } as const;

export function trustCommand(side: "runner" | "coordinator"): CommandModule<Options> {
  return {
    builder: (yargs) =>
      yargs
        .positional("action", {
          choices: ["list", "remove", "rename"] as const,
          demandOption: true,
          describe: "What to do",
        })
        .positional("peer", { type: "string", describe: "A name, or a prefix or the end of a peer ID" })
        .positional("name", { type: "string", describe: "The new name, for rename" })
        .option("json", { type: "boolean", default: false, describe: "Print JSON" })
        .example("$0 trust list", "who is trusted, and since when")
        .example("$0 trust remove w1", "it is not, from now on")
        .example("$0 trust rename w1 gpu-1", "only here, and only the name"),
    async handler({ action, peer, name, json }) {
      const expected = { list: 0, remove: 1, rename: 2 }[action];
      const given = [peer, name].filter((one) => one !== undefined).length;
      if (given !== expected)
        throw new SortieError("USAGE", `trust ${action} takes ${takes[action]}.`, {
          hint: `See ${side} trust --help.`,
        });
      const trust = openTrust(homeOf(side));
      if (action === "list") {
        const pins = trust.list();
        if (json) process.stdout.write(`${JSON.stringify(pins)}\n`);
        else
          for (const pin of pins)
            process.stdout.write(`${pin.name}  ${pin.peer}  since ${new Date(pin.pinnedAt).toISOString()}\n`);
        return;
      }
      const pin = trust.find(peer ?? "");
      if (action === "remove") {
        trust.remove(pin.peer);
        process.stdout.write(`${pin.name} is no longer trusted.\n`);
        return;
      }
      trust.rename(pin.peer, name ?? "");
      process.stdout.write(`${pin.name} is now called ${name}.\n`);
    },
  };
}

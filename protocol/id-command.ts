// `runner id` and `coordinator id`: the peer ID, and a new key in place of the one behind it.
import { join } from "node:path";
import type { CommandModule } from "./command-entry.ts";
import { SortieError } from "./errors.ts";
import { homeOf } from "./home.ts";
import { loadIdentity, newKey } from "./identity.ts";
import { folderOwner, lockFolder } from "./lock.ts";
import { openTrust } from "./trust.ts";

interface Options {
  readonly rotate: boolean;
  readonly "new-key": string | undefined;
  readonly json: boolean;
}

export function idCommand(side: "runner" | "coordinator"): CommandModule<Options> {
  const other = side === "runner" ? "coordinator" : "runner";
  return {
    builder: (yargs) =>
      yargs
        .option("rotate", {
          type: "boolean",
          default: false,
          describe: "Make a new key, which the old one signs: those who trust this side go on trusting it",
        })
        .option("new-key", {
          type: "string",
          hidden: side === "runner",
          describe: "Make another key in this file, for run and exec --sign-with, and print its peer ID",
        })
        .option("json", { type: "boolean", default: false, describe: "Print JSON" })
        .example("$0 id", `what a ${other}'s trust list shows`)
        .example("$0 id --rotate", "another key, and the same trust"),
    async handler({ rotate: isRotated, "new-key": file, json }) {
      const folder = homeOf(side);
      if (isRotated && file !== undefined)
        throw new SortieError("USAGE", "--new-key makes a key of its own; --rotate replaces this side's.");
      if (!isRotated) {
        const { peer } = file === undefined ? await loadIdentity(folder) : await newKey(file);
        process.stdout.write(json ? `${JSON.stringify({ peer })}\n` : `${peer}\n`);
        return;
      }
      const { introduce, rotate } = await import("./succession.ts");
      // A process that has the key in use would go on with it, while everybody else has the new one.
      if (side === "runner") refuseInUse(folder, "The runner runs");
      else refuseInUse(join(folder, "listen"), "This coordinator listens");
      const unlock = lockFolder(side === "runner" ? folder : join(folder, "rotate"));
      try {
        const trust = openTrust(folder);
        const { peer, waiting } = await rotate(folder, trust);
        const answers = await Promise.all(
          waiting.map(async (pin) => ({ name: pin.name, told: await introduce(folder, trust, pin) })),
        );
        const named = (told: boolean): string[] => answers.filter((one) => one.told === told).map(({ name }) => name);
        if (json) {
          process.stdout.write(`${JSON.stringify({ peer, told: named(true), waiting: named(false) })}\n`);
          return;
        }
        const lines = [peer];
        if (named(true).length > 0) lines.push(`told: ${named(true).join(", ")}`);
        if (named(false).length > 0)
          lines.push(`not reached: ${named(false).join(", ")}; told when next dialled, within 30 days`);
        lines.push(`A ${other} that dials this side finds it out by itself, within 30 days.`);
        process.stdout.write(`${lines.join("\n")}\n`);
      } finally {
        unlock();
      }
    },
  };
}

function refuseInUse(folder: string, what: string): void {
  const owner = folderOwner(folder);
  if (owner === undefined) return;
  throw new SortieError("STATE_LOCKED", `${what}, as process ${owner}, with the key that is to be replaced.`, {
    hint: "Stop it, rotate, and start it again; jobs go on meanwhile.",
  });
}

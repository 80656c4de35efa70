// `coordinator id`
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity, newKey } from "../../protocol/identity.ts";

interface Options {
  readonly "new-key": string | undefined;
}

export const builder = (yargs: Argv) =>
  yargs
    .option("new-key", {
      type: "string",
      describe: "Make another key in this file, for run and exec --sign-with, and print its peer ID",
    })
    .example("$0 id", "what a runner's trust list shows")
    .example("$0 id --new-key signing.key", "for a runner's --require-signature=PEERID");

export async function handler(options: Options): Promise<void> {
  const file = options["new-key"];
  const { peer } = file === undefined ? await loadIdentity(homeOf("coordinator")) : await newKey(file);
  process.stdout.write(`${peer}\n`);
}

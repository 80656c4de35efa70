// `runner id`
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { loadIdentity } from "../../protocol/identity.ts";

export const builder = (yargs: Argv) => yargs.example("$0 id", "what a coordinator's trust list shows");

export async function handler(): Promise<void> {
  process.stdout.write(`${(await loadIdentity(homeOf("runner"))).peer}\n`);
}

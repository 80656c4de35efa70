// `coordinator listen`: listens for runners that dial by themselves for as long as it runs, so that they are always connected. Every
// command listens by itself while it runs; with this one none has to wait for them.
import type { Argv } from "yargs";
import { homeOf } from "../../protocol/home.ts";
import { interruptSignal } from "../../protocol/interrupt.ts";
import { limits } from "../../protocol/limits.ts";
import { oneLine } from "../../protocol/text.ts";
import { within } from "../../protocol/within.ts";
import { openJoined } from "../joined.ts";

export const listenOption = {
  type: "string",
  describe: "Multiaddr to listen on; default: the one of the last time, else /ip4/0.0.0.0/tcp/7701",
} as const;

export const builder = (yargs: Argv) =>
  yargs
    .option("listen", listenOption)
    .example("$0 listen", "in the foreground, until Ctrl-C")
    .example("$0 listen --listen /ip4/0.0.0.0/tcp/7701", "on every interface, and from then on always there");

export async function handler({ listen }: { listen: string | undefined }): Promise<void> {
  const stopped = interruptSignal(() => {});
  const stop = new Promise<void>((resolve) => stopped.addEventListener("abort", () => resolve(), { once: true }));
  const joined = openJoined({
    folder: homeOf("coordinator"),
    listen,
    log: (line) => void process.stderr.write(`${new Date().toISOString()} ${oneLine(line)}\n`),
  });
  try {
    let told: boolean | undefined;
    while (!stopped.aborted) {
      const { addresses, here } = await joined.listen();
      if (here !== told) {
        if (!here) process.stdout.write("another process of this coordinator listens; this one follows it\n");
        else for (const address of addresses) process.stdout.write(`listening: ${address}\n`);
      }
      told = here;
      await within(stop, limits.joinLookMs);
    }
  } finally {
    await joined.close();
  }
}

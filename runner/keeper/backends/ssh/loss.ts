// What becomes of a command whose connection is gone: its host is looked for again, to end what runs there. command.ts calls it.
import { setTimeout as delay } from "node:timers/promises";
import type { Ending } from "../../../../protocol/exit.ts";
import { limits } from "../../../../protocol/limits.ts";
import { within } from "../../../../protocol/within.ts";
import type { Ended } from "../backend.ts";
import { NOTHING_ENDED } from "../ending.ts";
import { endTree } from "./remote.ts";
import type { Tree } from "./script.ts";
import type { HostSessions } from "./sessions.ts";

export interface Loss {
  readonly how: Ended;
  readonly ending: Ending;
}

/** Where nobody could look. */
export const unknownEnding = (host: HostSessions): Ending => ({
  ...NOTHING_ENDED,
  unknown: `${host.name.slice(0, 200)} could not be asked; what the job ran there may still run`,
});

/** The host is looked for again, for a while, so that nothing goes on there unseen. `message` says what happened. */
export async function afterLoss(host: HostSessions, tree: Tree, message: string): Promise<Loss> {
  const givesUp = performance.now() + host.reconnectMs;
  for (;;) {
    const left = givesUp - performance.now();
    if (left <= 0 || host.closed()) break;
    const ended = await within(endTree(host, tree, 0), left).catch(() => undefined);
    if (ended) {
      const { survivors } = ended.ending;
      const outcome =
        survivors.length > 0
          ? `${survivors.length} of what it ran there could not be ended`
          : "what it ran there was ended";
      return { how: { kind: "lost", message: `${message}; ${outcome}` }, ending: ended.ending };
    }
    await delay(Math.min(limits.sshRetryMs, Math.max(0, givesUp - performance.now())));
  }
  const seconds = host.reconnectMs / 1000;
  return {
    how: {
      kind: "lost",
      message: `${message}, and the host could not be asked again within ${seconds} s; what it ran there may still run`,
    },
    ending: unknownEnding(host),
  };
}

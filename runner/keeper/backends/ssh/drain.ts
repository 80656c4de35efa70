// The outputs of a command after its exit: read to their end, or until something that it started holds them for too long.
// command.ts calls it.
import { setTimeout as delay } from "node:timers/promises";
import type { ClientChannel } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { DRAIN_TICK_MS, type Look, overOrQuiet } from "../quiet.ts";
import type { ChannelEnd } from "./channel-end.ts";
import type { Outputs } from "./outputs.ts";
import { endTree } from "./remote.ts";
import type { Tree } from "./script.ts";
import type { HostSessions } from "./sessions.ts";

/** Outputs that an ended tree held are read for as long as something comes, and this much longer. */
const LAST_WORDS_MS = 250;
/** What of a command's own output may be on its way when its exit is told: a pipe, the server's and our own buffers. */
const UNDER_WAY_BYTES = 8 * 1024 * 1024;

/**
 * After the exit was told: to the end of the outputs, or until they were quiet for a while although they were being read;
 * then something that it started holds them, and is ended. True where that was so.
 */
export async function drain(
  host: HostSessions,
  channel: ClientChannel,
  outputs: Outputs,
  end: ChannelEnd,
  tree: Tree,
  killing: () => Promise<unknown> | undefined,
): Promise<boolean> {
  const over = Promise.race([Promise.all([end.closed, outputs.ended]), end.cut]).then(() => true as const);
  const atExit = outputs.received();
  const look = (): Look => {
    const received = outputs.received();
    return { received, waiting: outputs.waiting(), own: received - atExit <= UNDER_WAY_BYTES };
  };
  if (await overOrQuiet(over, look, () => killing() !== undefined)) return false;
  // What holds them open has the grace that was given to all.
  const kill = killing();
  if (kill && (await Promise.race([over, kill.then(() => false)]))) return false;
  let before = outputs.received();
  // The answer comes behind whatever of its output the network held up: then nobody held it open.
  const ended = await endTree(host, tree, 0).catch(() => undefined);
  for (let quiet = 0; quiet < LAST_WORDS_MS; quiet += DRAIN_TICK_MS) {
    if (await Promise.race([over, delay(DRAIN_TICK_MS, false)])) return (ended?.ending.ended.length ?? 1) > 0;
    if (outputs.received() !== before || outputs.waiting()) quiet = 0;
    before = outputs.received();
  }
  channel.close();
  await Promise.race([end.closed, end.cut, delay(limits.closeMs)]);
  outputs.finish();
  return true;
}

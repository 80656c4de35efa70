// Does to a round's site what its plan says, at its moment.
import { setTimeout as delay } from "node:timers/promises";
import type { Conduct } from "./conduct.ts";
import type { Fault } from "./plan.ts";
import type { Side, Site } from "./site.ts";

/** A coordinator that finds its disk full leaves; one that writes nothing just now does not notice. */
const LEAVES_WITHIN_MS = 3_000;

/** Resolves when the fault is over. False where there was nothing left to hit. */
export async function inject({ kind, lasts }: Fault, site: Site, conduct: Conduct): Promise<boolean> {
  switch (kind) {
    case "cut":
      site.proxy.cut();
      return true;
    case "freeze":
      site.proxy.freeze();
      await delay(lasts);
      site.proxy.thaw();
      return true;
    case "coordinator-kill":
      return conduct.isLive && conduct.kill(lasts);
    case "coordinator-stop": {
      if (!conduct.isLive) return false;
      const stopped = conduct.signal("SIGSTOP");
      await delay(lasts);
      stopped?.child.kill("SIGCONT");
      return true;
    }
    case "front-kill":
      await site.restartFront(lasts);
      return true;
    case "keeper-kill":
      return site.killKeeper();
    case "runner-disk-full":
      await full("runner");
      return true;
    case "coordinator-disk-full":
      conduct.room = full("coordinator");
      await conduct.room;
      return true;
    case "runner-clock-back":
      await whileBack("runner");
      return true;
    case "coordinator-clock-back":
      await whileBack("coordinator");
      return true;
    case "reader-stalls":
    case "reader-slow":
      // Theirs is the round: they are readers, and what they got is looked at.
      return true;
  }

  async function full(side: Side): Promise<void> {
    site.set(side, "full", true);
    await delay(lasts);
    const givesUp = performance.now() + LEAVES_WITHIN_MS;
    while (side === "coordinator" && conduct.isLive && performance.now() < givesUp) await delay(50);
    site.set(side, "full", false);
  }

  async function whileBack(side: Side): Promise<void> {
    site.set(side, "back", true);
    await delay(lasts);
    site.set(side, "back", false);
  }
}

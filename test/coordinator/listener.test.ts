import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { startListener } from "../../coordinator/listener.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { type Node, startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { testFolder } from "../rig/peers.ts";

async function listening() {
  const folder = testFolder();
  mkdirSync(join(folder, "listen"), { mode: 0o700 });
  const listener = await startListener({ folder, listen: "/ip4/127.0.0.1/tcp/0", silenceMs: limits.silenceMs });
  onTestFinished(() => listener.close());
  const { peer } = await loadIdentity(folder);
  async function runner(name: string): Promise<{ readonly peer: string; dial(): Promise<unknown> }> {
    const identity = await loadIdentity(testFolder());
    const node: Node = await startNode({
      identity,
      listen: [],
      trusts: () => true,
      pairingOpen: () => false,
      onCall() {},
    });
    onTestFinished(() => node.stop());
    openTrust(folder).pin(identity.peer, name, []);
    return { peer: identity.peer, dial: () => node.connect(peer, listener.addresses, limits.joinDialMs) };
  }
  return { listener, runner };
}

const WITHIN_MS = 150;

describe("the process that listens", () => {
  it("waits for a runner that dials by itself, for so long and no longer", async () => {
    const { listener, runner } = await listening();
    const here = await runner("here");
    const away = await runner("away");
    const opening = listener.open(here.peer, limits.joinWaitMs);
    await here.dial();
    await opening;
    await expect(listener.open(away.peer, WITHIN_MS)).rejects.toMatchObject({ code: "RUNNER_UNREACHABLE" });
    // That others are there already is no reason to wait.
    await listener.open(here.peer, WITHIN_MS, 5_000);
    await expect(listener.open(away.peer, WITHIN_MS, 5_000)).rejects.toMatchObject({
      message: expect.stringMatching(/did not for 0\.\d s/),
    });
  });

  it("waits on while others come in, as those of a large fleet do", async () => {
    const { listener, runner } = await listening();
    const first = await runner("first");
    const second = await runner("second");
    const opening = listener.open(first.peer, limits.joinWaitMs);
    await first.dial();
    await opening;
    // By itself it would have given up before it began.
    const next = listener.open(second.peer, 0, 5_000);
    await second.dial();
    await next;
  });
});

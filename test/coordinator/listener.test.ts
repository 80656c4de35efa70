import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { openJoined } from "../../coordinator/joined.ts";
import { startListener } from "../../coordinator/listener.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { openInvites, parseInvite } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { type Node, startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { proveInvite } from "../../protocol/use-invite.ts";
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
  return { folder, listener, runner };
}

const WITHIN_MS = 150;
/** More than a loaded machine adds to what is waited for, and less than a test has. */
const LONG_MS = 50_000;
/** It was waited for, and for much less than that. */
const NOT_FOR_LONG = expect.stringMatching(/ did not for [12]?\d\.\d s/);

describe("the process that listens", () => {
  it("waits for a runner that dials by itself, for so long and no longer", async () => {
    const { listener, runner } = await listening();
    const here = await runner("here");
    const away = await runner("away");
    const opening = listener.open(here.peer, LONG_MS);
    await here.dial();
    await opening;
    await expect(listener.open(away.peer, WITHIN_MS)).rejects.toMatchObject({ code: "RUNNER_UNREACHABLE" });
    // That others are there already is no reason to wait.
    await listener.open(here.peer, WITHIN_MS, LONG_MS);
    await expect(listener.open(away.peer, WITHIN_MS, LONG_MS)).rejects.toMatchObject({ message: NOT_FOR_LONG });
  });

  it("waits on while others come in, as those of a large fleet do", async () => {
    const { listener, runner } = await listening();
    const first = await runner("first");
    const second = await runner("second");
    // For the listener no time passes, however long a dial takes here.
    const clock = vi.spyOn(performance, "now").mockReturnValue(performance.now());
    onTestFinished(() => clock.mockRestore());
    const opening = listener.open(first.peer, limits.joinWaitMs);
    await first.dial();
    await opening;
    // By itself it would have given up before it began.
    const next = listener.open(second.peer, 0, LONG_MS);
    await second.dial();
    await next;
  });

  it("waits for one that has not come for so long only as long as one takes between two tries", async () => {
    const { listener, runner } = await listening();
    const { peer } = await runner("away");
    const now = performance.now.bind(performance);
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + LONG_MS);
    onTestFinished(() => clock.mockRestore());
    await expect(listener.open(peer, LONG_MS)).rejects.toMatchObject({
      code: "RUNNER_UNREACHABLE",
      message: NOT_FOR_LONG,
    });
  });

  it("waits for a runner that it dialled before, once that has joined", async () => {
    const { folder, listener } = await listening();
    const { peer } = await loadIdentity(folder);
    const identity = await loadIdentity(testFolder());
    const trust = openTrust(folder);
    trust.pin(identity.peer, "w1", ["/ip4/127.0.0.1/tcp/1"]);
    const node = await startNode({ identity, listen: [], trusts: () => false, pairingOpen: () => false });
    onTestFinished(() => node.stop());
    await proveInvite(node, "w1", parseInvite(openInvites(folder).issue(peer, listener.addresses)));
    expect(trust.get(identity.peer)?.addresses).toEqual([]);
  });

  it("tells who joined that it listens elsewhere now", async () => {
    const folder = testFolder();
    openTrust(folder).pin((await loadIdentity(testFolder())).peer, "w1", []);
    const told: string[] = [];
    // On addresses that nobody else's connections take ports of: the same one is listened on again.
    for (const listen of ["/ip4/127.0.0.2/tcp/0", undefined, "/ip4/127.0.0.3/tcp/0"]) {
      const joined = openJoined({ folder, listen, log: (line) => told.push(line) });
      await joined.listen();
      await joined.close();
    }
    expect(told).toEqual([expect.stringMatching(/^it listened on \/ip4\/127\.0\.0\.2\/tcp\/\d+ before; .*: w1$/)]);
  });
});

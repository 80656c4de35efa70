import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it, onTestFinished } from "vitest";
import type { Handlers } from "../../protocol/call.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { type Identity, loadIdentity, loadOldIdentity, replaceIdentity } from "../../protocol/identity.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson } from "../../protocol/make-call.ts";
import type { Succession } from "../../protocol/messages.ts";
import { CALL_PROTOCOL, type Node, startNode } from "../../protocol/node.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import {
  follow,
  introduce,
  rotate,
  signSuccession,
  successionHandlers,
  verifySuccessions,
  waitingPins,
} from "../../protocol/succession.ts";
import { openTrust, ownerOf, type Trust } from "../../protocol/trust.ts";
import { newPeer, testFolder } from "../rig/peers.ts";
import { openProxy, through } from "../rig/proxy.ts";
import { until } from "../rig/rig.ts";

const keys = mkdtempSync(join(tmpdir(), "sortie-test-"));
afterAll(() => rmSync(keys, { recursive: true }));
const [one, two, three] = (await Promise.all(
  ["one", "two", "three"].map((name) => loadIdentity(join(keys, name))),
)) as [Identity, Identity, Identity];

describe("a succession", () => {
  it("leads from the identity that is known to the last one, step by step", async () => {
    const chain = [signSuccession(one, two), signSuccession(two, three)];
    expect(verifySuccessions(chain.slice(0, 1), one.peer)).toBe(two.peer);
    expect(verifySuccessions(chain, one.peer)).toBe(three.peer);
    expect(verifySuccessions(chain.slice(1), two.peer)).toBe(three.peer);
  });

  it("is refused where anything of it is not as both keys signed it, or not of the time", async () => {
    const real = signSuccession(one, two);
    const stolen = signSuccession(three, two);
    const month = limits.successionMs;
    const cases: readonly (readonly [string, readonly Succession[], string, number?])[] = [
      ["is empty", [], one.peer],
      ["is of another peer", [real], three.peer],
      ["is of another peer", [real, real], one.peer],
      ["is not signed by its old key", [{ ...real, signedByOld: stolen.signedByOld }], one.peer],
      ["is not signed by its old key", [{ ...real, signedByOld: real.signedByNew }], one.peer],
      ["is not signed by its old key", [{ ...real, signedByOld: "" }], one.peer],
      ["is not signed by its new key", [{ ...real, signedByNew: real.signedByOld }], one.peer],
      ["is not signed by its old key", [{ ...real, new: three.peer }], one.peer],
      ["is not signed by its old key", [{ ...real, at: real.at - 1 }], one.peer],
      ["is to none", [{ ...real, new: "../../x" }], one.peer],
      ["is over", [real], one.peer, real.at + month + 1],
      ["is from the future", [real], one.peer, real.at - limits.successionSkewMs - 1],
    ];
    for (const [why, chain, known, now] of cases)
      expect(() => verifySuccessions(chain, known, now), why).toThrow(
        expect.objectContaining({ code: "UNTRUSTED", message: expect.stringContaining(why) }),
      );
  });

  it("keeps a peer's name, group, addresses and jobs, and leaves nothing to the identity before", async () => {
    const trust = openTrust(testFolder());
    trust.pin(one.peer, "w1", [`/ip4/127.0.0.1/tcp/1/p2p/${one.peer}`], "ci");
    trust.pin(three.peer, "w3", []);
    trust.succeed(one.peer, two.peer);
    expect(trust.has(one.peer)).toBe(false);
    expect(trust.get(two.peer)).toMatchObject({
      name: "w1",
      group: "ci",
      addresses: [`/ip4/127.0.0.1/tcp/1/p2p/${two.peer}`],
      formerly: [one.peer],
    });
    expect(trust.current(one.peer)?.peer).toBe(two.peer);
    for (const taken of [one.peer, three.peer])
      expect(() => trust.succeed(two.peer, taken)).toThrow(expect.objectContaining({ code: "UNTRUSTED" }));
    const last = await newPeer();
    expect(ownerOf(trust.succeed(two.peer, last))).toBe(one.peer);
    // Pairing anew changes nothing of it.
    expect(ownerOf(trust.pin(last, "w1", []))).toBe(one.peer);
    trust.remove(last);
    expect(trust.removed()).toEqual([one.peer, two.peer, last].map((peer) => ({ peer, owner: one.peer })));
  });

  it("is no removal to those who watch: the successor is told", async () => {
    const trust = openTrust(testFolder());
    trust.pin(one.peer, "w1", []);
    const told: unknown[] = [];
    const stop = trust.onRemoved((peer, was) => told.push([peer, was.owner, was.successor?.peer]));
    trust.succeed(one.peer, two.peer);
    await until(
      () => told.length,
      (count) => count === 1,
    );
    trust.remove(two.peer);
    await until(
      () => told.length,
      (count) => count === 2,
    );
    stop();
    expect(told).toEqual([
      [one.peer, one.peer, two.peer],
      [two.peer, one.peer, undefined],
    ]);
  });
});

describe("a new key", () => {
  it("takes the place of the old one only at the end, and both are for this user alone", async () => {
    const folder = testFolder();
    const before = await loadIdentity(folder);
    const crash = replaceIdentity(folder, async () => {
      throw new Error("killed");
    });
    await expect(crash).rejects.toThrow("killed");
    expect((await loadIdentity(folder)).peer).toBe(before.peer);
    const next = await replaceIdentity(folder, async () => {});
    expect(next.peer).not.toBe(before.peer);
    expect((await loadIdentity(folder)).peer).toBe(next.peer);
    expect((await loadOldIdentity(folder))?.peer).toBe(before.peer);
    for (const name of ["identity.key", "identity.old.key"])
      expect(statSync(join(folder, name)).mode & 0o777).toBe(0o600);
  });

  it("leaves no old one behind where nobody has to be told", async () => {
    const folder = testFolder();
    await loadIdentity(folder);
    const trust = openTrust(folder);
    trust.pin(await newPeer(), "laptop", []);
    await rotate(folder, trust);
    expect(existsSync(join(folder, "identity.old.key"))).toBe(false);
  });
});

interface Side {
  readonly folder: string;
  readonly trust: Trust;
}

const side = (): Side => {
  const folder = testFolder();
  return { folder, trust: openTrust(folder) };
};

/** Listens as that side, and answers what new keys need. */
async function listening({ folder, trust }: Side, more: Handlers = {}): Promise<Node> {
  const identity = await loadIdentity(folder);
  const handlers = { ...successionHandlers(folder, identity.peer, trust), ...more };
  const node = await startNode({
    identity,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    trusts: (peer) => trust.has(peer),
    pairingOpen: () => false,
    onCall: (channel, peer) => serveCall(channel, handlers, { peer, name: "x" }),
  });
  onTestFinished(() => node.stop());
  return node;
}

async function dialling({ folder, trust }: Side): Promise<Node> {
  const node = await startNode({
    identity: await loadIdentity(folder),
    listen: [],
    trusts: (peer) => trust.has(peer),
    pairingOpen: () => false,
  });
  onTestFinished(() => node.stop());
  return node;
}

const portOf = (node: Node): number => Number(/tcp\/(\d+)/.exec(node.addresses()[0] ?? "")?.[1]);
const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code,
  );

describe("a side that dials, with a new key", () => {
  it("tells those it dials with the old one; the old one is nobody to them from then on", async () => {
    const [laptop, worker] = [side(), side()];
    const node = await listening(worker);
    const before = await loadIdentity(laptop.folder);
    laptop.trust.pin(node.peer, "w1", node.addresses());
    worker.trust.pin(before.peer, "laptop", []);
    const { peer, waiting } = await rotate(laptop.folder, laptop.trust);
    const [pin] = waiting;
    if (!pin) throw new Error("nobody to tell");
    expect(await introduce(laptop.folder, laptop.trust, pin)).toBe(true);
    expect(worker.trust.list()).toMatchObject([{ peer, name: "laptop", formerly: [before.peer] }]);
    expect(existsSync(join(laptop.folder, "identity.old.key"))).toBe(false);
    const dials = await dialling(laptop);
    const { successions } = await callJson(
      await dials.open(node.peer, node.addresses(), CALL_PROTOCOL),
      "/trust/succession",
      { of: node.peer },
    );
    expect(successions).toEqual([]);
    const old = await startNode({ identity: before, listen: [], trusts: () => false, pairingOpen: () => false });
    onTestFinished(() => old.stop());
    expect(await codeOf(old.open(node.peer, node.addresses(), CALL_PROTOCOL))).toBe("UNTRUSTED");
  });

  it("keeps the old one for those that are not there, makes no other before, and forgets it after a month", async () => {
    const [laptop, worker] = [side(), side()];
    const first = await listening(worker);
    const before = await loadIdentity(laptop.folder);
    // Its address stays its own: a port that is free for a moment may be another test's in the next.
    let port = portOf(first);
    const proxy = await openProxy(() => port);
    onTestFinished(() => proxy.close());
    laptop.trust.pin(first.peer, "w1", [through(proxy.port, first.addresses()[0] ?? "")]);
    worker.trust.pin(before.peer, "laptop", []);
    await first.stop();
    const { waiting } = await rotate(laptop.folder, laptop.trust);
    const [pin] = waiting;
    if (!pin) throw new Error("nobody to tell");
    expect(await introduce(laptop.folder, laptop.trust, pin)).toBe(false);
    await expect(rotate(laptop.folder, laptop.trust)).rejects.toThrow(/w1 has not been told/);
    port = portOf(await listening(worker));
    expect(await introduce(laptop.folder, laptop.trust, pin)).toBe(true);
    expect(worker.trust.current(before.peer)?.peer).toBe((await loadIdentity(laptop.folder)).peer);

    await rotate(laptop.folder, laptop.trust);
    expect(waitingPins(laptop.folder, laptop.trust).length).toBe(1);
    const path = join(laptop.folder, "succession.json");
    const { default: state } = await import(path, { with: { type: "json" } });
    const over = state.successions.map((one: Succession) => ({ ...one, at: one.at - limits.successionMs }));
    writeFileSync(path, JSON.stringify({ ...state, successions: over }));
    expect(waitingPins(laptop.folder, laptop.trust)).toEqual([]);
    expect(existsSync(join(laptop.folder, "identity.old.key"))).toBe(false);
  });

  it("is made the next time where a crash came between its record and the key: nobody waits for one that never was", async () => {
    const [laptop, worker] = [side(), side()];
    const before = await loadIdentity(laptop.folder);
    const node = await listening(worker);
    worker.trust.pin(before.peer, "laptop", []);
    const pin = laptop.trust.pin(node.peer, "w1", node.addresses());
    // Where the old key is to be kept there is a folder.
    mkdirSync(join(laptop.folder, "identity.old.key"));
    await expect(rotate(laptop.folder, laptop.trust)).rejects.toThrow();
    expect((await loadIdentity(laptop.folder)).peer).toBe(before.peer);
    rmdirSync(join(laptop.folder, "identity.old.key"));
    // There is nothing to tell, and nobody is dialled for it.
    expect(await introduce(laptop.folder, laptop.trust, pin)).toBe(true);
    const { peer } = await rotate(laptop.folder, laptop.trust);
    expect(await introduce(laptop.folder, laptop.trust, pin)).toBe(true);
    expect(worker.trust.list()).toMatchObject([{ peer, formerly: [before.peer] }]);
  });

  it("cannot speak for another: a certificate is of the identity that calls", async () => {
    const [laptop, worker] = [side(), side()];
    const node = await listening(worker);
    const caller = await loadIdentity(laptop.folder);
    worker.trust.pin(caller.peer, "laptop", []);
    worker.trust.pin(one.peer, "other", []);
    const dials = await dialling(laptop);
    for (const successions of [
      [signSuccession(one, two)],
      [{ ...signSuccession(caller, two), signedByNew: "AAAA" }],
      [signSuccession(caller, one)],
      [],
    ]) {
      const channel = await dials.open(node.peer, node.addresses(), CALL_PROTOCOL);
      expect(await codeOf(callJson(channel, "/trust/succeed", { successions }))).toBe("UNTRUSTED");
    }
    expect(worker.trust.list().map((pin) => pin.peer)).toEqual([caller.peer, one.peer]);
  });
});

describe("a side that listens, with a new key", () => {
  /** A coordinator that knows a worker by its first identity, of two keys ago. */
  async function rotated(times: number) {
    const [laptop, worker] = [side(), side()];
    const before = await loadIdentity(worker.folder);
    const dials = await dialling(laptop);
    worker.trust.pin(dials.peer, "laptop", []);
    for (let time = 0; time < times; time++) await rotate(worker.folder, worker.trust);
    const pinTo = (node: Node) =>
      laptop.trust.pin(before.peer, "w1", [`/ip4/127.0.0.1/tcp/${portOf(node)}/p2p/${before.peer}`]);
    return { laptop, worker, before, dials, pinTo };
  }

  it("is found under it by those who dial, also after two changes", async () => {
    const { laptop, worker, before, dials, pinTo } = await rotated(2);
    const node = await listening(worker);
    const pin = await follow(dials, laptop.trust, pinTo(node));
    expect(pin).toMatchObject({ peer: node.peer, name: "w1", formerly: [before.peer] });
    expect(laptop.trust.list()).toEqual([pin]);
    const channel = await dials.open(node.peer, pin?.addresses ?? [], CALL_PROTOCOL);
    expect(await callJson(channel, "/trust/succession", { of: before.peer })).toMatchObject({
      successions: [{ old: before.peer }, { new: node.peer }],
    });
  });

  it("is not taken for one that only has its address, whatever that claims", async () => {
    const { laptop, worker, before, pinTo, dials } = await rotated(1);
    const real = await listening(worker);
    const genuine = (await successionHandlers(worker.folder, real.peer, worker.trust)["/trust/succession"](
      { of: before.peer },
      { peer: "", name: "" },
      AbortSignal.any([]),
    )) as { successions: Succession[] };
    const impostor = side();
    const its = await loadIdentity(impostor.folder);
    impostor.trust.pin(dials.peer, "laptop", []);
    const claims = [
      [],
      // The real one's, which leads to the real one.
      genuine.successions,
      [signSuccession(its, its)],
      [{ ...signSuccession(one, its), old: before.peer }],
    ];
    let claim: Succession[] = [];
    const node = await listening(impostor, { "/trust/succession": async () => ({ successions: claim }) });
    const pin = pinTo(node);
    for (claim of claims) expect(await follow(dials, laptop.trust, pin)).toBe(undefined);
    expect(laptop.trust.list()).toEqual([pin]);
    // It was asked, and that is all.
    const there = await until(
      () => node.arrives(dials.peer, 1),
      (is) => !is,
    );
    expect(there).toBe(false);
    // Nothing of this stands in the real one's way.
    expect((await follow(dials, laptop.trust, pinTo(real)))?.peer).toBe(real.peer);
  });

  it("may call at once over the connection by which it is found: that waits until it is known again", async () => {
    const { laptop, worker, before, pinTo } = await rotated(1);
    const dials = await listening(laptop);
    const handlers = successionHandlers(worker.folder, (await loadIdentity(worker.folder)).peer, worker.trust);
    let calledBack: Promise<unknown> = Promise.reject(new Error("Nobody asked."));
    calledBack.catch(() => {});
    const node: Node = await listening(worker, {
      async "/trust/succession"(...asked) {
        const channel = await node.open(dials.peer, [], CALL_PROTOCOL);
        calledBack = callJson(channel, "/trust/succession", { of: before.peer });
        return (await handlers["/trust/succession"](...asked)) as { successions: Succession[] };
      },
    });
    expect(await follow(dials, laptop.trust, pinTo(node))).toMatchObject({ peer: node.peer });
    expect(await calledBack).toEqual({ successions: [] });
  });

  it("is looked for at an address that another known peer has by now, whose calls go on", async () => {
    const { laptop, dials, pinTo } = await rotated(0);
    const other = side();
    other.trust.pin(dials.peer, "laptop", []);
    const node = await listening(other);
    laptop.trust.pin(node.peer, "w2", node.addresses());
    const channel = await dials.open(node.peer, node.addresses(), CALL_PROTOCOL);
    expect(await follow(dials, laptop.trust, pinTo(node))).toBe(undefined);
    expect(await callJson(channel, "/trust/succession", { of: dials.peer })).toEqual({ successions: [] });
  });
});

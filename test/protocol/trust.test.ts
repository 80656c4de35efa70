import { readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { openTrust } from "../../protocol/trust.ts";
import { watchFolder } from "../../protocol/watch-folder.ts";
import { inProcess, newPeer, sourceUrl, testFolder, together } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";

const [laptop, desk, third] = await Promise.all([newPeer(), newPeer(), newPeer()]);
const address = "/ip4/127.0.0.1/tcp/7700";

describe("the peers a side trusts", () => {
  it("are pinned with a name of their own, and are the same for another process at once", () => {
    const folder = testFolder();
    const other = openTrust(folder);
    expect(other.has(laptop)).toBe(false);
    const pin = openTrust(folder).pin(laptop, "laptop", [address]);
    expect(pin).toMatchObject({ peer: laptop, name: "laptop", addresses: [address] });
    expect(other.get(laptop)).toEqual(pin);
    expect(other.list()).toEqual([pin]);
    expect(statSync(join(folder, "trust.json")).mode & 0o777).toBe(0o600);
  });

  it("get different names where they want the same", () => {
    const trust = openTrust(testFolder());
    for (const peer of [laptop, desk, third]) trust.pin(peer, "w", []);
    expect(trust.list().map((pin) => pin.name)).toEqual(["w", "w-2", "w-3"]);
  });

  it("keep the name that the owner gave them when they pair again, and get their new addresses", () => {
    const trust = openTrust(testFolder());
    trust.pin(laptop, "laptop", [address]);
    trust.rename(laptop, "ci");
    expect(trust.pin(laptop, "laptop")).toMatchObject({ name: "ci", addresses: [address] });
    // One that dials is where it was no more.
    expect(trust.pin(laptop, "laptop", []).addresses).toEqual([]);
    expect(trust.pin(laptop, "laptop", ["/ip4/10.0.0.1/tcp/1"]).addresses).toEqual(["/ip4/10.0.0.1/tcp/1"]);
  });

  it("cannot take a name that acts on a terminal, or that is a peer ID", () => {
    const trust = openTrust(testFolder());
    expect(trust.pin(laptop, "\u001b]0;x\u0007", []).name).toBe("peer");
    expect(trust.pin(desk, third, []).name).toBe("peer-2");
    expect(trust.pin(third, "good", []).name).toBe("good");
    expect(trust.find(third).peer).toBe(third);
  });

  it("are not found by a name that is a piece of another one's ID: that could be either", () => {
    const trust = openTrust(testFolder());
    trust.pin(laptop, desk.slice(-8), []);
    trust.pin(desk, "desk", []);
    expect(() => trust.find(desk.slice(-8))).toThrow(expect.objectContaining({ code: "AMBIGUOUS" }));
    expect(trust.find(desk).name).toBe("desk");
  });

  it("are found by name and by either end of the ID; none and several are said", () => {
    const trust = openTrust(testFolder());
    trust.pin(laptop, "laptop", []);
    trust.pin(desk, "desk", []);
    expect(trust.find("laptop").peer).toBe(laptop);
    expect(trust.find(laptop.slice(0, 20)).peer).toBe(laptop);
    expect(trust.find(laptop.slice(-6)).peer).toBe(laptop);
    expect(() => trust.find("12D3")).toThrow(expect.objectContaining({ code: "AMBIGUOUS" }));
    expect(() => trust.find("12D3")).toThrow(/laptop, desk/);
    for (const nobody of ["nobody", "", "12D", "__proto__"])
      expect(() => trust.find(nobody)).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
  });

  it("are renamed to what is a name, and free", () => {
    const trust = openTrust(testFolder());
    trust.pin(laptop, "laptop", []);
    trust.pin(desk, "desk", []);
    for (const bad of ["desk", "", "a b", "-x", "a".repeat(64), third])
      expect(() => trust.rename(laptop, bad)).toThrow(expect.objectContaining({ code: "USAGE" }));
    expect(() => trust.rename(third, "new")).toThrow(expect.objectContaining({ code: "NOT_FOUND" }));
    trust.rename(laptop, "laptop");
    trust.rename(laptop, "ci");
    expect(trust.list().map((pin) => pin.name)).toEqual(["ci", "desk"]);
  });

  it("cannot make the file one that is not read again", () => {
    const trust = openTrust(testFolder());
    trust.pin(desk, "desk", []);
    for (const bad of [[`/dns4/${"a".repeat(400)}`], ["/ip4/1.2.3.4\u001b[2J"], Array(33).fill(address)])
      expect(() => trust.pin(laptop, "laptop", bad)).toThrow(expect.objectContaining({ code: "PROTOCOL" }));
    expect(() => trust.pin("nobody", "x", [])).toThrow(expect.objectContaining({ code: "PROTOCOL" }));
    expect(trust.list().map((pin) => pin.name)).toEqual(["desk"]);
  });

  it("are all kept when processes pin at once", async () => {
    const folder = testFolder();
    const peers = await Promise.all(Array.from({ length: 15 }, newPeer));
    const pinning = (some: string[]): string => `
        import { openTrust } from ${sourceUrl("protocol/trust.ts")};
        const trust = openTrust(${JSON.stringify(folder)});
        for (const peer of ${JSON.stringify(some)}) trust.pin(peer, "w", []);`;
    await together([pinning(peers.slice(0, 5)), pinning(peers.slice(5, 10)), pinning(peers.slice(10))]);
    const pins = openTrust(folder).list();
    expect(pins.map((pin) => pin.peer).sort()).toEqual([...peers].sort());
    expect(new Set(pins.map((pin) => pin.name)).size).toBe(15);
  });
});

describe("a peer that was removed", () => {
  it("leaves a tombstone, until it is paired anew", () => {
    const folder = testFolder();
    const trust = openTrust(folder);
    trust.pin(laptop, "laptop", []);
    expect(trust.removed()).toEqual([]);
    trust.remove(laptop);
    expect([trust.has(laptop), trust.removed()]).toEqual([false, [{ peer: laptop, owner: laptop }]]);
    expect(JSON.parse(readFileSync(join(folder, "trust.json"), "utf8")).removed).toMatchObject([
      { peer: laptop, name: "laptop" },
    ]);
    trust.pin(laptop, "laptop", []);
    expect([trust.has(laptop), trust.removed()]).toEqual([true, []]);
  });

  it("is told to a process that runs, which is what ends its connections", async () => {
    const folder = testFolder();
    const trust = openTrust(folder);
    trust.pin(laptop, "laptop", []);
    trust.pin(desk, "desk", []);
    const removed: string[] = [];
    const stop = trust.onRemoved((peer) => removed.push(peer));
    await inProcess(
      `(await import(${sourceUrl("protocol/trust.ts")})).openTrust(${JSON.stringify(folder)}).remove("${laptop}");`,
    );
    await until(
      () => removed.length,
      (count) => count > 0,
    );
    expect(removed).toEqual([laptop]);
    trust.remove(desk);
    await until(
      () => removed.length,
      (count) => count > 1,
    );
    stop();
    expect(removed).toEqual([laptop, desk]);
  });
});

describe("a damaged file of trust", () => {
  it("is said, never taken for an empty one, and never written over", () => {
    const folder = testFolder();
    const path = join(folder, "trust.json");
    openTrust(folder).pin(laptop, "laptop", []);
    const whole = readFileSync(path, "utf8");
    for (const damaged of ["{", "", "null", "{}", '{"pins":[]}', whole.replace(laptop, "x"), `${whole}}`]) {
      writeFileSync(path, damaged);
      const trust = openTrust(folder);
      for (const use of [
        () => trust.has(laptop),
        () => trust.list(),
        () => trust.pin(desk, "desk", []),
        () => trust.remove(laptop),
      ])
        expect(use).toThrow(expect.objectContaining({ code: "STATE_INVALID" }));
      expect(readFileSync(path, "utf8")).toBe(damaged);
    }
    rmSync(path);
    symlinkSync(path, path);
    expect(() => openTrust(folder).list()).toThrow(expect.objectContaining({ code: "STATE_INVALID" }));
  });

  it("ends nobody's connection, and once it is whole again those of the peers that are gone", async () => {
    const folder = testFolder();
    const path = join(folder, "trust.json");
    const trust = openTrust(folder);
    trust.pin(laptop, "laptop", []);
    trust.pin(desk, "desk", []);
    const whole = readFileSync(path, "utf8");
    const removed: string[] = [];
    const stop = trust.onRemoved((peer) => removed.push(peer));
    writeFileSync(path, "{");
    // Another watcher of the same folder, asked to look after ours was: by then ours has looked too.
    let looked = 0;
    const stopLooking = watchFolder(folder, () => looked++);
    await until(
      () => looked,
      (count) => count > 1,
    );
    stopLooking();
    expect(removed).toEqual([]);
    writeFileSync(path, JSON.stringify({ ...JSON.parse(whole), pins: JSON.parse(whole).pins.slice(1) }));
    await until(
      () => removed.length,
      (count) => count > 0,
    );
    expect(removed).toEqual([laptop]);
    rmSync(path);
    await until(
      () => removed.length,
      (count) => count > 1,
    );
    expect(removed).toEqual([laptop, desk]);
    stop();
  });
});

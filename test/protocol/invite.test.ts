import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { SortieError } from "../../protocol/errors.ts";
import { openInvites, parseInvite } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { inProcess, newPeer, sourceUrl, testFolder, together } from "../rig/peers.ts";

const address = "/ip4/127.0.0.1/tcp/7700";
const issuer = await newPeer();
const other = await newPeer();

function refusal(url: string, now?: number): SortieError {
  try {
    parseInvite(url, now);
  } catch (error) {
    if (error instanceof SortieError && error.code === "INVITE_INVALID") return error;
    throw error;
  }
  return expect.unreachable(`${url} was taken`);
}

const tokenOf = (url: string): string => new URL(url).searchParams.get("token") ?? "";

describe("an invite's URL", () => {
  it("is read back whole, with every address pinned to its issuer", () => {
    const url = openInvites(testFolder()).issue(issuer, [
      address,
      "/dns4/w1.example/tcp/7701",
      `${address}/p2p/${issuer}`,
    ]);
    const invite = parseInvite(` ${url}\n`);
    expect(invite.peer).toBe(issuer);
    expect(invite.addresses).toEqual([
      `${address}/p2p/${issuer}`,
      `/dns4/w1.example/tcp/7701/p2p/${issuer}`,
      `${address}/p2p/${issuer}`,
    ]);
    expect(url).toMatch(/^sortie:\/ip4\/127\.0\.0\.1\/tcp\/7700\/p2p\/\w+\?token=[\w-]{42}&addr=/);
  });

  it("says what is wrong with it, for each way it can be", () => {
    const invites = openInvites(testFolder());
    const url = invites.issue(issuer, [address]);
    const several = invites.issue(issuer, [address, "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1"]);
    const token = tokenOf(url);
    for (const [bad, sentence] of [
      ["", "does not begin with sortie:/"],
      ["https://example.com", "does not begin with sortie:/"],
      ["sortie:", "does not begin with sortie:/"],
      [url.replace(/\?.*/, ""), "has no token: was the URL cut off?"],
      [url.replace(/\?.*/, "?"), "has no whole token"],
      [url.slice(0, -5), "has no whole token"],
      [several.split("&")[0], "has 1 of its 3 addresses: a shell cuts a URL at & unless it is in quotes"],
      [several.slice(0, several.lastIndexOf("&")), "has 2 of its 3 addresses"],
      [`${url}AAAA`, "has a token that is none"],
      [url.replace("token=", "token=!."), "has a token that is none"],
      [url.replace(token, `${token.slice(0, -1)}_`), "has a token that is none"],
      [`${url}&x=1`, "has a part that does not belong there"],
      [`${url}&token=${token}`, "has a part that does not belong there"],
      [`${url}?more`, "has a part that does not belong there"],
      [`${url}&addr=/ip4/127.0.0.1/tcp/1/p2p/${other}`, "names two different peers"],
      [url.replace(/\/p2p\/[^?]*/, ""), "has an address without the peer's ID at its end"],
      [url.replace("/p2p/", `/p2p/${other}/p2p-circuit/p2p/`), "has an address without the peer's ID at its end"],
      [url.replace("/tcp/7700", "/tpc/7700"), "has an address that is none"],
      [url.replace("/tcp/7700", "/tcp/77000"), "has an address that is none"],
      [url.replace("127.0.0.1", "127.0.0.1\u001b[2J"), "has an address that is none"],
      [url.replace(address, ""), "has an address that is none"],
      [url + `&addr=${address}/p2p/${issuer}`.repeat(16), "has more than 16 addresses"],
      [`sortie:/${"a".repeat(10_000)}`, "is far too long"],
    ] as const)
      expect(refusal(bad ?? "").message).toContain(`The invite ${sentence}`);
  });

  it("is over at its time, and says for how long by the clock here", () => {
    const url = openInvites(testFolder(), () => 1_000).issue(issuer, [address], 60_000);
    expect(parseInvite(url, 60_999).expiresAt).toBe(61_000);
    expect(refusal(url, 61_000 + 90_000).message).toContain("is over, by the clock here for 2 min");
    expect(refusal(url, 61_000).hint).toContain("Make a new one");
  });

  it("is never quoted in an error: its token is a secret", () => {
    const url = openInvites(testFolder()).issue(issuer, [address]);
    const token = tokenOf(url);
    for (const bad of [url.slice(7), `${url}&x=1`, url.replace("/tcp/", "/tpc/"), `${url}A`]) {
      const { message, hint, stack } = refusal(bad);
      expect(message + hint + stack).not.toContain(token.slice(0, 20));
    }
  });

  it("is taken or refused with a sentence, whatever it is", () => {
    const url = openInvites(testFolder()).issue(issuer, [address, "/ip4/10.0.0.1/tcp/1"]);
    fc.assert(
      fc.property(fc.nat(url.length), fc.nat(20), fc.string({ unit: "binary", maxLength: 20 }), (at, cut, put) => {
        const bad = url.slice(0, at) + put + url.slice(at + cut);
        try {
          expect(parseInvite(bad).peer).toBe(issuer);
        } catch (error) {
          expect((error as SortieError).code).toBe("INVITE_INVALID");
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("an issuer's record of invites", () => {
  it("holds neither the token nor its secret, and is for its owner alone", () => {
    const folder = testFolder();
    const token = tokenOf(openInvites(folder).issue(issuer, [address]));
    const secret = Buffer.from(token, "base64url").subarray(8, 24);
    const file = readFileSync(join(folder, "invites.json"), "latin1");
    for (const form of [token, secret.toString("hex"), secret.toString("base64"), secret.toString("base64url")])
      expect(file).not.toContain(form);
    expect(statSync(join(folder, "invites.json")).mode & 0o777).toBe(0o600);
  });

  it("lets in anybody while an invite is unused, then only the peer that used it, and nobody once it is over", async () => {
    const folder = testFolder();
    let now = Date.now();
    const invites = openInvites(folder, () => now);
    expect(invites.openTo(other)).toBe(false);
    const { id } = parseInvite(invites.issue(issuer, [address]));
    const stranger = await newPeer();
    expect([invites.openTo(other), invites.openTo(stranger)]).toEqual([true, true]);
    expect(invites.use(id, other)).toBe(true);
    expect([invites.openTo(other), invites.openTo(stranger)]).toEqual([true, false]);
    expect(invites.use(id, stranger)).toBe(false);
    expect(invites.use(id, other)).toBe(true);
    now += limits.inviteTtlMs;
    expect([invites.openTo(other), invites.use(id, other)]).toEqual([false, false]);
  });

  it("is seen by a running process when another one issues, and forgets what is over", async () => {
    const folder = testFolder();
    const invites = openInvites(folder);
    expect(invites.openTo(other)).toBe(false);
    const url = await inProcess(`
      import { openInvites } from ${sourceUrl("protocol/invite.ts")};
      console.log(openInvites(${JSON.stringify(folder)}).issue("${issuer}", ["${address}"]));`);
    expect(invites.openTo(other)).toBe(true);
    expect(invites.keyFor(parseInvite(url).id, other)).toMatchObject({ key: parseInvite(url).key });
    const later = openInvites(folder, () => Date.now() + 2 * limits.inviteTtlMs);
    later.issue(issuer, [address]);
    expect(JSON.parse(readFileSync(join(folder, "invites.json"), "utf8")).length).toBe(1);
  });

  it("loses none of those that processes issue at once", async () => {
    const folder = testFolder();
    const issue = `
      import { openInvites } from ${sourceUrl("protocol/invite.ts")};
      const invites = openInvites(${JSON.stringify(folder)});
      for (let i = 0; i < 10; i++) invites.issue("${issuer}", ["${address}"]);`;
    await together([issue, issue, issue]);
    expect(JSON.parse(readFileSync(join(folder, "invites.json"), "utf8")).length).toBe(30);
  });

  it("gives one invite to one peer, also when two processes use it at once", async () => {
    const folder = testFolder();
    const { id } = parseInvite(openInvites(folder).issue(issuer, [address]));
    const use = (peer: string): string => `import { openInvites } from ${sourceUrl("protocol/invite.ts")};
        console.log(openInvites(${JSON.stringify(folder)}).use("${id}", "${peer}"));`;
    expect((await together([use(issuer), use(other), use(await newPeer())])).sort()).toEqual([
      "false",
      "false",
      "true",
    ]);
  });

  it("refuses addresses that are none or another peer's, and takes the first sixteen of many", () => {
    const invites = openInvites(testFolder());
    for (const bad of ["w1:7700", "", `${address}/p2p/${other}`, "/ip4/1.2.3.4/tcp/1&token=x"])
      expect(() => invites.issue(issuer, [bad])).toThrow(/is not an address of this peer/);
    expect(() => invites.issue(issuer, [])).toThrow(/needs an address/);
    const many = Array.from({ length: 40 }, (_, index) => `/ip4/10.0.0.${index}/tcp/1`);
    expect(parseInvite(invites.issue(issuer, many)).addresses.length).toBe(16);
  });

  it("keeps a thousand alive at most", () => {
    const folder = testFolder();
    const invite = { id: "00", key: "", expiresAt: Date.now() + 60_000, usedBy: null };
    writeFileSync(join(folder, "invites.json"), JSON.stringify(Array(limits.invitesAlive).fill(invite)));
    expect(() => openInvites(folder).issue(issuer, [address])).toThrow(/1000 invites are alive already/);
  });

  it("is never taken for empty when it is damaged", () => {
    const folder = testFolder();
    for (const damaged of ["{", "", "{}", '[{"id":1}]']) {
      writeFileSync(join(folder, "invites.json"), damaged);
      const invites = openInvites(folder);
      expect(() => invites.openTo(other)).toThrow(/is damaged/);
      expect(() => invites.issue(issuer, [address])).toThrow(/is damaged/);
      expect(readFileSync(join(folder, "invites.json"), "utf8")).toBe(damaged);
    }
  });
});

import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPair } from "@libp2p/crypto/keys";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { type Invites, openInvites, parseInvite } from "../../protocol/invite.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import { answerPairing, requestPairing } from "../../protocol/pair.ts";
import { openTrust, type Trust } from "../../protocol/trust.ts";
import { until } from "../rig/rig.ts";

const newPeer = async (): Promise<string> => peerIdFromPrivateKey(await generateKeyPair("Ed25519")).toString();
const address = "/ip4/127.0.0.1/tcp/7700";

let folder: string;
let issuer: string;
let joiner: string;
let invites: Invites;
let trust: Trust;
let refusals: string[];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sortie-pair-"));
  [issuer, joiner] = await Promise.all([newPeer(), newPeer()]);
  invites = openInvites(folder);
  trust = openTrust(folder);
  refusals = [];
});
afterEach(() => rmSync(folder, { recursive: true }));

function answer(channel: ByteChannel, them: string, withinMs?: number): Promise<void> {
  return answerPairing(
    channel,
    { me: issuer, them, name: "w1", invites, trust, onPaired: () => {}, onRefused: (reason) => refusals.push(reason) },
    withinMs,
  );
}

async function join_(url: string, me: string, seenAs = me): Promise<{ name: string }> {
  const [ours, theirs] = memoryChannelPair();
  const answered = answer(theirs, seenAs);
  try {
    return await requestPairing(ours, { me, them: issuer, name: "laptop", invite: parseInvite(url) });
  } finally {
    await answered;
  }
}

const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "paired",
    (error: SortieError) => error.code,
  );

describe("pairing", () => {
  it("makes both sides know each other, once", async () => {
    const url = invites.issue(issuer, [address]);
    expect(await join_(url, joiner)).toEqual({ name: "w1" });
    expect(trust.get(joiner)).toMatchObject({ peer: joiner, name: "laptop" });
    expect(await codeOf(join_(url, await newPeer()))).toBe("PAIRING_REFUSED");
    expect(refusals).toEqual(["an invite that another peer used"]);
    expect(trust.list().length).toBe(1);
  });

  it("lets the same peer ask again where the answer was lost", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const answered = answer(theirs, joiner);
    const asked = requestPairing(ours, { me: joiner, them: issuer, name: "laptop", invite: parseInvite(url) });
    await until(() => trust.has(joiner), Boolean);
    ours.abort(new Error("the connection is cut before the answer"));
    await Promise.allSettled([asked, answered]);
    expect(await codeOf(join_(url, joiner))).toBe("paired");
  });

  it("does not bring a removed peer back by the invite that it used", async () => {
    const url = invites.issue(issuer, [address]);
    await join_(url, joiner);
    trust.remove(joiner);
    expect(await codeOf(join_(url, joiner))).toBe("PAIRING_REFUSED");
    expect(trust.has(joiner)).toBe(false);
    expect(await codeOf(join_(invites.issue(issuer, [address]), joiner))).toBe("paired");
  });

  it("refuses a wrong token, an unknown and an expired invite, and tells the peer the same of each", async () => {
    const url = invites.issue(issuer, [address]);
    const token = Buffer.from(new URL(url).searchParams.get("token") ?? "", "base64url");
    token[10] = (token[10] ?? 0) ^ 1;
    const wrong = url.replace(/token=.*/, `token=${token.toString("base64url")}`);
    const elsewhere = mkdtempSync(join(tmpdir(), "sortie-pair-"));
    const unknown = openInvites(elsewhere).issue(issuer, [address]);
    rmSync(elsewhere, { recursive: true });
    const errors: SortieError[] = [];
    for (const bad of [wrong, unknown]) await join_(bad, joiner).catch((error: SortieError) => errors.push(error));
    invites = openInvites(folder, () => Date.now() + 11 * 60_000);
    await join_(url, joiner).catch((error: SortieError) => errors.push(error));
    expect(new Set(errors.map((error) => `${error.code} ${error.message}`)).size).toBe(1);
    expect(errors.length).toBe(3);
    expect(refusals.length).toBe(3);
    expect(trust.list()).toEqual([]);
  });

  it("fails for somebody in between, who ends Noise under his own ID on both sides", async () => {
    const url = invites.issue(issuer, [address]);
    const middle = await newPeer();
    const [left, leftMiddle] = memoryChannelPair();
    const [rightMiddle, right] = memoryChannelPair();
    const pipe = async (from: ByteChannel, to: ByteChannel): Promise<void> => {
      try {
        for (let bytes = await from.read(); bytes; bytes = await from.read()) await to.write(bytes);
      } catch {
        to.abort(new Error("cut"));
      }
    };
    void pipe(leftMiddle, rightMiddle);
    void pipe(rightMiddle, leftMiddle);
    const answered = answer(right, middle);
    expect(
      await codeOf(requestPairing(left, { me: joiner, them: middle, name: "laptop", invite: parseInvite(url) })),
    ).toBe("PAIRING_REFUSED");
    await answered;
    expect(refusals).toEqual(["a wrong proof: the token is wrong, or somebody sits in between"]);
    expect(trust.list()).toEqual([]);
  });

  it("does not take an issuer's word without its proof: a reflected proof is none", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const asked = requestPairing(ours, { me: joiner, them: issuer, name: "laptop", invite: parseInvite(url) });
    const frames: Buffer[] = [];
    const next = async (): Promise<Buffer> => {
      const bytes = Buffer.from((await theirs.read()) ?? []);
      frames.push(bytes);
      return bytes;
    };
    await next();
    const challenge = Buffer.from(JSON.stringify({ nonce: "00".repeat(32), name: "w1" }));
    await theirs.write(Buffer.concat([Buffer.from([0, 0, 0, challenge.length]), challenge]));
    await theirs.write(await next());
    expect(await codeOf(asked)).toBe("PAIRING_REFUSED");
  });

  for (const [what, bytes] of Object.entries({
    "a length of 4 GiB": Buffer.from([0xff, 0xff, 0xff, 0xff]),
    "a frame over 4 KiB": Buffer.from([0, 0, 0x10, 1]),
    "text that is not JSON": Buffer.from("\0\0\0\u0003abc"),
    "a frame with more in it": frame({ invite: "00".repeat(8), nonce: "00".repeat(32), name: "x", more: 1 }),
    "a name that is none": frame({ invite: "00".repeat(8), nonce: "00".repeat(32), name: "\u001b]0;x" }),
  })) {
    it(`ends at ${what}`, async () => {
      invites.issue(issuer, [address]);
      const [ours, theirs] = memoryChannelPair();
      const answered = answer(theirs, joiner);
      await ours.write(bytes);
      await answered;
      expect(refusals.length).toBe(1);
      expect(trust.list()).toEqual([]);
    });
  }

  it("ends with a peer that takes too long", async () => {
    const [ours, theirs] = memoryChannelPair();
    await ours.write(Uint8Array.of(0));
    await answer(theirs, joiner, 50);
    expect(refusals).toEqual(["Pairing took too long."]);
  });
});

function frame(content: object): Buffer {
  const json = Buffer.from(JSON.stringify(content));
  return Buffer.concat([Buffer.from([0, 0, json.length >> 8, json.length & 255]), json]);
}

describe("invites", () => {
  const message = (url: string): string => {
    try {
      parseInvite(url);
      return "fine";
    } catch (error) {
      return (error as Error).message;
    }
  };

  it("are read back whole, with every address", () => {
    const url = invites.issue(issuer, [address, "/ip4/127.0.0.2/tcp/7701"]);
    expect(parseInvite(url).addresses).toEqual([`${address}/p2p/${issuer}`, `/ip4/127.0.0.2/tcp/7701/p2p/${issuer}`]);
  });

  it("keep no token in the file", () => {
    const url = invites.issue(issuer, [address]);
    const token = new URL(url).searchParams.get("token") ?? "";
    const secret = Buffer.from(token, "base64url").subarray(8, 24);
    const file = readFileSync(join(folder, "invites.json"), "latin1");
    for (const form of [token, secret.toString("hex"), secret.toString("base64")]) expect(file).not.toContain(form);
    expect(statSync(join(folder, "invites.json")).mode & 0o777).toBe(0o600);
  });

  it("say what is wrong with a URL", async () => {
    const url = invites.issue(issuer, [address]);
    expect(message(url)).toBe("fine");
    expect(message("https://example.com")).toContain("does not begin with sortie:/");
    expect(message(url.replace(/\?.*/, ""))).toContain("no token");
    expect(message(url.slice(0, -5))).toContain("no whole token");
    expect(message(url.replace(/\/p2p\/[^?]*/, ""))).toContain("without the peer's ID");
    expect(message(`${url}&addr=/ip4/127.0.0.1/tcp/1/p2p/${await newPeer()}`)).toContain("two different peers");
    expect(message(url.replace("/tcp/7700", "/tpc/7700"))).toContain("address that is none");
    expect(message(`${url}&x=1`)).toContain("does not belong");
    expect(message(invites.issue(issuer, [address], -1))).toContain("is over");
  });
});

describe("trust", () => {
  it("gives peers of one name different ones", async () => {
    for (const peer of [await newPeer(), await newPeer(), await newPeer()]) trust.pin(peer, "w", []);
    expect(trust.list().map((pin) => pin.name)).toEqual(["w", "w-2", "w-3"]);
  });

  it("is seen by another process at once, which is told of removals", async () => {
    const other = openTrust(folder);
    trust.pin(joiner, "laptop", []);
    expect(other.has(joiner)).toBe(true);
    const removed: string[] = [];
    const stop = other.onRemoved((peer) => removed.push(peer));
    trust.remove(joiner);
    expect(
      await until(
        () => removed,
        (all) => all.length > 0,
      ),
    ).toEqual([joiner]);
    stop();
    expect(other.has(joiner)).toBe(false);
    expect(readFileSync(join(folder, "trust.json"), "utf8")).toContain(
      `"removed": [\n    {\n      "peer": "${joiner}"`,
    );
  });

  it("lets nothing in that could not be read again", () => {
    trust.pin(joiner, "laptop", []);
    expect(() => trust.pin(joiner, "laptop", [`/dns4/${"a".repeat(400)}`])).toThrow();
    expect(trust.has(joiner)).toBe(true);
  });

  it("never takes a damaged file for an empty one", () => {
    trust.pin(joiner, "laptop", []);
    writeFileSync(join(folder, "trust.json"), "{");
    expect(() => trust.has(joiner)).toThrow(/damaged/);
  });

  it("finds by name and by either end of the ID, and says when that fits nobody or several", async () => {
    const other = await newPeer();
    trust.pin(joiner, "laptop", []);
    trust.pin(other, "desk", []);
    expect(trust.find("laptop").peer).toBe(joiner);
    expect(trust.find(joiner.slice(-6)).peer).toBe(joiner);
    expect(() => trust.find("12D3")).toThrow(/laptop, desk/);
    expect(() => trust.find("nobody")).toThrow(/known: laptop, desk/);
  });
});

describe("the identity", () => {
  it("is made once, also by two at the same time, and is for its owner alone", async () => {
    const [one, two] = await Promise.all([loadIdentity(folder), loadIdentity(folder)]);
    expect(one.peer).toBe(two.peer);
    expect((await loadIdentity(folder)).peer).toBe(one.peer);
    expect(statSync(join(folder, "identity.key")).mode & 0o777).toBe(0o600);
  });

  it("is refused when others can read it, or when it is damaged", async () => {
    await loadIdentity(folder);
    const path = join(folder, "identity.key");
    const { chmodSync } = await import("node:fs");
    chmodSync(path, 0o644);
    await expect(loadIdentity(folder)).rejects.toThrow(/can be read by others/);
    chmodSync(path, 0o600);
    writeFileSync(path, "AAAA");
    await expect(loadIdentity(folder)).rejects.toThrow(/damaged/);
  });
});

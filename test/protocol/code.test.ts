import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import { openCodes, parseCode } from "../../protocol/code.ts";
import { beginExchange } from "../../protocol/cpace.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { type Invites, openInvites } from "../../protocol/invite.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import { answerPairing, type PairingOutcome, requestPairing } from "../../protocol/pair.ts";
import { beginByCode } from "../../protocol/pair-code.ts";
import { openTrust, type Trust } from "../../protocol/trust.ts";
import { newPeer, testFolder } from "../rig/peers.ts";

let folder: string;
let issuer: string;
let joiner: string;
let invites: Invites;
let trust: Trust;
let told: string[];

beforeEach(async () => {
  folder = testFolder();
  [issuer, joiner] = await Promise.all([newPeer(), newPeer()]);
  invites = openInvites(folder);
  trust = openTrust(folder);
  told = [];
});

const answer = (channel: ByteChannel, them: string): Promise<PairingOutcome> =>
  answerPairing(channel, {
    me: issuer,
    them,
    name: "w1",
    invites,
    trust,
    onPaired: () => told.push("paired"),
    onRefused: (reason) => told.push(reason),
  });

/** A whole pairing by code over two ends of memory; gives `paired`, or the code of the error. */
async function pair(code: string, me = joiner, seenAs = me, them = issuer): Promise<string> {
  const [ours, theirs] = memoryChannelPair();
  const answered = answer(theirs, seenAs);
  const asked = requestPairing(ours, { me, them, name: "laptop", code: parseCode(code) });
  const ended = await asked.then(
    () => "paired",
    (error: SortieError) => error.code,
  );
  await answered;
  return ended;
}

/** The code with another last character. */
const wrongly = (code: string): string => `${code.slice(0, -1)}${code.endsWith("7") ? "8" : "7"}`;
const wrong = (left: string): string => `a wrong code, or somebody sits in between; ${left}`;

describe("a code, as people write it", () => {
  it("is a number and eight characters, that nobody mistakes for others", () => {
    for (const written of ["7-K3MP-01X2", "7k3mp01x2", " 7-k3mp-oix2 ", "7 K3MP 0LX2"])
      expect(parseCode(written)).toEqual({ number: 7, secret: "K3MP01X2" });
  });

  it("is refused without being repeated where it is none", () => {
    for (const written of ["", "K3MP-01X2", "0-K3MP-01X2", "7-K3MP-01XU", "7-K3MP-01X", "7-K3MP-01X22", "sortie:/x"]) {
      expect(() => parseCode(written)).toThrow(expect.objectContaining({ code: "USAGE" }));
      if (written) expect(() => parseCode(written)).not.toThrow(written);
    }
  });

  it("is another each time, with the next number, and lives for ten minutes at most", () => {
    let now = 1_000;
    const codes = openCodes(folder, () => now);
    const issued = Array.from({ length: 12 }, () => codes.issue(60 * 60_000));
    for (const { code, expiresAt } of issued) {
      expect(code).toMatch(/^[1-9](-[0-9A-HJKMNP-TV-Z]{4}){2}$/);
      expect(expiresAt).toBe(1_000 + 10 * 60_000);
    }
    expect(new Set(issued.map(({ code }) => code.slice(2))).size).toBe(12);
    const numbers = issued.map(({ code }) => Number(code[0]));
    for (const [at, number] of numbers.entries()) if (at > 0) expect(number).toBe(((numbers[at - 1] ?? 0) % 9) + 1);
    expect(codes.openTo(joiner)).toBe(true);
    now += 10 * 60_000;
    expect(codes.openTo(joiner)).toBe(false);
  });
});

describe("pairing by code", () => {
  it("makes both sides know each other, once, with the code's group", async () => {
    const { code } = invites.codes.issue(undefined, "guests");
    expect(invites.openTo(joiner)).toBe(true);
    expect(await pair(code.toLowerCase())).toBe("paired");
    expect(trust.get(joiner)).toMatchObject({ name: "laptop", group: "guests" });
    const other = await newPeer();
    expect(invites.openTo(other)).toBe(false);
    expect(await pair(code, other)).toBe("PAIRING_REFUSED");
    // Its answer may have been lost.
    expect(await pair(code)).toBe("paired");
    expect(told).toEqual(["paired", "a code that another peer used", "paired"]);
    trust.remove(joiner);
    expect(await pair(code)).toBe("PAIRING_REFUSED");
    expect(told.at(-1)).toBe("a code that this peer used before it was removed");
  });

  it("is burned by three wrong tries, of whomever; the right one is refused then, and a new one is good", async () => {
    const { code } = invites.codes.issue();
    for (const left of ["2 of its tries left", "1 of its tries left", "the code is burned"]) {
      expect(await pair(wrongly(code), await newPeer())).toBe("PAIRING_REFUSED");
      expect(told.at(-1)).toBe(wrong(left));
    }
    expect(await pair(code)).toBe("PAIRING_REFUSED");
    expect(told.at(-1)).toBe("a code that is burned");
    expect(openInvites(folder).openTo(joiner)).toBe(false);
    expect(await pair(invites.codes.issue().code)).toBe("paired");
  });

  it("looks at three of many guesses that come at once", async () => {
    const { code } = invites.codes.issue();
    const outcomes = await Promise.all(
      Array.from({ length: 12 }, async (_, at) => pair(at === 11 ? code : wrongly(code), await newPeer())),
    );
    expect(new Set(outcomes)).toEqual(new Set(["PAIRING_REFUSED"]));
    expect(told.filter((reason) => reason.startsWith("a wrong code")).length).toBe(3);
    expect(trust.list()).toEqual([]);
  });

  it("loses no try to the code before it, nor to one that is over or unknown", async () => {
    const old = invites.codes.issue().code;
    const { code } = invites.codes.issue();
    for (let time = 0; time < 4; time++) expect(await pair(old)).toBe("PAIRING_REFUSED");
    expect(new Set(told)).toEqual(new Set(["a code of another number"]));
    expect(await pair(code)).toBe("paired");
    invites = openInvites(testFolder());
    expect(await pair(code)).toBe("PAIRING_REFUSED");
    expect(told.at(-1)).toBe("no code is alive");
  });

  it("has a wrong try on disk before the other side can know that it was one", async () => {
    const { code } = invites.codes.issue();
    const [ours, theirs] = memoryChannelPair();
    const seen: string[] = [];
    const watched: ByteChannel = {
      ...theirs,
      lost: theirs.lost,
      abort(reason) {
        seen.push(readFileSync(join(folder, "code.json"), "utf8"));
        theirs.abort(reason);
      },
    };
    const side = { me: joiner, them: issuer, name: "laptop", code: parseCode(wrongly(code)) };
    await Promise.allSettled([answer(watched, joiner), requestPairing(ours, side)]);
    expect(seen).toEqual([expect.stringContaining('"wrongTries": 1')]);
  });

  it("holds for the two peers that Noise saw, and for no other", async () => {
    const { code } = invites.codes.issue();
    expect(await pair(code, joiner, await newPeer())).toBe("PAIRING_REFUSED");
    expect(await pair(code, joiner, joiner, await newPeer())).toBe("PAIRING_REFUSED");
    expect(told).toEqual([wrong("2 of its tries left"), wrong("1 of its tries left")]);
    expect(trust.list()).toEqual([]);
  });

  it("costs no try to look at the issuer's share and to leave", async () => {
    const { code } = invites.codes.issue();
    for (let time = 0; time < 4; time++) {
      const [ours, theirs] = memoryChannelPair();
      const answered = answer(theirs, joiner);
      await ours.write(frame({ ...hello(code), share: randomShare() }));
      await ours.read();
      ours.abort(new Error("left"));
      await answered;
    }
    expect(await pair(code)).toBe("paired");
  });
});

describe("shares that are none", () => {
  const shares = {
    "the neutral element": "00".repeat(32),
    "bytes that are no element": `2b3c6b8c${"00".repeat(28)}`,
    "a number above the field's prime": "ff".repeat(32),
  };
  for (const [what, share] of Object.entries(shares)) {
    it(`are refused by the issuer: ${what}`, async () => {
      const { code } = invites.codes.issue();
      const [ours, theirs] = memoryChannelPair();
      const answered = answer(theirs, joiner);
      await ours.write(frame({ ...hello(code), share }));
      expect(await answered).toBe("wrong");
      expect(told).toEqual(["a share that is none"]);
      expect(await pair(code)).toBe("paired");
    });

    it(`are refused by the joiner, who proves nothing then: ${what}`, async () => {
      expect(await joinFalseIssuer(() => share)).toBe("PAIRING_REFUSED");
    });
  }

  it("are those that are sent back, too", async () => {
    expect(await joinFalseIssuer((theirs) => theirs)).toBe("PAIRING_REFUSED");
  });

  it("are not there at all", async () => {
    expect(await joinFalseIssuer(() => undefined)).toBe("PAIRING_REFUSED");
  });

  /** Plays an issuer that answers with a share of its choice, and fails the test if the joiner proves anything. */
  async function joinFalseIssuer(choose: (share: string) => string | undefined): Promise<string> {
    const { code } = invites.codes.issue();
    const [ours, theirs] = memoryChannelPair();
    const asked = requestPairing(ours, { me: joiner, them: issuer, name: "laptop", code: parseCode(code) }).then(
      () => "paired",
      (error: SortieError) => error.code,
    );
    const { share } = JSON.parse(Buffer.from((await theirs.read())?.subarray(4) ?? []).toString());
    await theirs.write(frame({ nonce: "00".repeat(32), name: "w1", share: choose(share) }));
    const ended = await asked;
    await expect(theirs.read()).rejects.toThrow();
    return ended;
  }
});

describe("an issuer that does not know the code", () => {
  it("gets a proof that tells it whether one guess was right, and cannot answer it", async () => {
    const code = parseCode(invites.codes.issue().code);
    const [ours, theirs] = memoryChannelPair();
    const asked = requestPairing(ours, { me: joiner, them: issuer, name: "laptop", code }).then(
      () => "paired",
      (error: SortieError) => error.message,
    );
    const first = JSON.parse(Buffer.from((await theirs.read())?.subarray(4) ?? []).toString());
    const begun = await beginByCode("responder", "00000000", first.nonce, { issuer, joiner });
    await theirs.write(frame({ nonce: "00".repeat(32), name: "w1", share: begun.share }));
    const { proof } = JSON.parse(Buffer.from((await theirs.read())?.subarray(4) ?? []).toString());
    await theirs.write(frame({ proof }));
    expect(await asked).toContain("does not hold the");
  });
});

const hello = (code: string): object => ({ code: parseCode(code).number, nonce: "11".repeat(32), name: "laptop" });

const randomShare = (): string => {
  const nothing = Buffer.alloc(0);
  return beginExchange("initiator", { secret: nothing, channel: nothing, session: nothing }).share.toString("hex");
};

function frame(content: object): Buffer {
  const json = Buffer.from(JSON.stringify(content));
  return Buffer.concat([Buffer.from([0, 0, json.length >> 8, json.length & 255]), json]);
}

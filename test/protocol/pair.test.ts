import { readFileSync } from "node:fs";
import { join } from "node:path";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { type Invites, openInvites, parseInvite } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { memoryChannelPair } from "../../protocol/memory-channel.ts";
import { type Node, PAIR_PROTOCOL } from "../../protocol/node.ts";
import { answerPairing, type PairingOutcome, requestPairing } from "../../protocol/pair.ts";
import { openTrust, type Trust } from "../../protocol/trust.ts";
import { inProcess, newPeer, sourceUrl, testFolder, testNode } from "../rig/peers.ts";
import { until } from "../rig/rig.ts";

const address = "/ip4/127.0.0.1/tcp/7700";

let folder: string;
let issuer: string;
let joiner: string;
let invites: Invites;
let trust: Trust;
/** What the issuer was told, in order. */
let told: string[];

beforeEach(async () => {
  folder = testFolder();
  [issuer, joiner] = await Promise.all([newPeer(), newPeer()]);
  invites = openInvites(folder);
  trust = openTrust(folder);
  told = [];
});

function answer(channel: ByteChannel, them: string, withinMs?: number, me = issuer): Promise<PairingOutcome> {
  const onPaired = () => told.push("paired");
  const onRefused = (reason: string) => told.push(reason);
  return answerPairing(channel, { me, them, name: "w1", invites, trust, onPaired, onRefused }, withinMs);
}

const ask = (channel: ByteChannel, url: string, me = joiner, them = issuer): Promise<{ readonly name: string }> =>
  requestPairing(channel, { me, them, name: "laptop", invite: parseInvite(url) });

/** A whole pairing, over two ends of memory; the issuer may see another than the joiner says he is. */
async function pair(url: string, me = joiner, seenAs = me): Promise<{ readonly name: string }> {
  const [ours, theirs] = memoryChannelPair();
  const answered = answer(theirs, seenAs);
  try {
    return await ask(ours, url, me);
  } finally {
    await answered;
  }
}

const failure = (promise: Promise<unknown>): Promise<SortieError> =>
  promise.then(
    () => expect.unreachable("it was taken"),
    (error) => error,
  );

const REFUSED = expect.objectContaining({ code: "PAIRING_REFUSED" });

describe("pairing", () => {
  it("makes both sides know each other's name, once", async () => {
    const url = invites.issue(issuer, [address]);
    expect(await pair(url)).toEqual({ name: "w1" });
    expect(trust.get(joiner)).toMatchObject({ peer: joiner, name: "laptop", addresses: [] });
    expect(await failure(pair(url, await newPeer()))).toEqual(REFUSED);
    expect(told).toEqual(["paired", "an invite that another peer used"]);
    expect(trust.list().length).toBe(1);
  });

  it("gives an invite to one of two that use it at the same time", async () => {
    const url = invites.issue(issuer, [address]);
    const outcomes = await Promise.allSettled([pair(url, joiner), pair(url, await newPeer())]);
    expect(outcomes.map((one) => one.status).sort()).toEqual(["fulfilled", "rejected"]);
    expect(trust.list().length).toBe(1);
  });

  it("pins, also for an issuer that wants to hear of nothing", async () => {
    const [ours, theirs] = memoryChannelPair();
    const url = invites.issue(issuer, [address]);
    const answered = answerPairing(theirs, { me: issuer, them: joiner, name: "w1", invites, trust });
    await ask(ours, url);
    await answered;
    expect(trust.has(joiner)).toBe(true);
  });

  it("has {used, pinned} on disk before the joiner hears of it", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const seen: boolean[] = [];
    let writes = 0;
    const watched: ByteChannel = {
      ...theirs,
      lost: theirs.lost,
      async write(bytes) {
        const onDisk = (file: string): string => {
          try {
            return readFileSync(join(folder, file), "utf8");
          } catch {
            return "";
          }
        };
        if (++writes === 2)
          seen.push(onDisk("invites.json").includes(`"usedBy": "${joiner}"`), onDisk("trust.json").includes(joiner));
        await theirs.write(bytes);
      },
    };
    await Promise.all([answer(watched, joiner), ask(ours, url)]);
    expect(seen).toEqual([true, true]);
  });

  it("can be asked for again by the same peer whose answer was lost, and by no other", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const answered = answer(theirs, joiner);
    const asked = ask(ours, url);
    await until(() => trust.has(joiner), Boolean);
    ours.abort(new Error("the connection is cut before the answer"));
    await Promise.allSettled([asked, answered]);
    expect(await failure(pair(url, await newPeer()))).toEqual(REFUSED);
    expect(await pair(url)).toEqual({ name: "w1" });
    expect(trust.list().map((pin) => pin.name)).toEqual(["laptop"]);
  });

  it("tells its issuer that it paired, and not that it refused, when only the answer is lost", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const { pin } = trust;
    trust = {
      ...trust,
      pin: (...pinned) => {
        ours.abort(new Error("cut"));
        return pin(...pinned);
      },
    };
    const answered = answer(theirs, joiner);
    expect(await failure(ask(ours, url))).toEqual(REFUSED);
    await answered;
    expect(told).toEqual(["paired"]);
  });

  for (const [where, dies] of [
    ["between the use and the pin", "trust.pin = die"],
    ["between the pin and the answer", "const { pin } = trust; trust.pin = (...one) => (pin(...one), die())"],
  ] as const) {
    it(`is finished by the same peer, and no other, when the issuer was killed ${where}`, async () => {
      const url = invites.issue(issuer, [address]);
      const killed = inProcess(`
        import { openInvites, parseInvite } from ${sourceUrl("protocol/invite.ts")};
        import { memoryChannelPair } from ${sourceUrl("protocol/memory-channel.ts")};
        import { answerPairing, requestPairing } from ${sourceUrl("protocol/pair.ts")};
        import { openTrust } from ${sourceUrl("protocol/trust.ts")};
        const die = () => { process.kill(process.pid, "SIGKILL"); for (;;); };
        const trust = openTrust(${JSON.stringify(folder)});
        ${dies};
        const [ours, theirs] = memoryChannelPair();
        answerPairing(theirs, { me: "${issuer}", them: "${joiner}", name: "w1", trust,
          invites: openInvites(${JSON.stringify(folder)}) });
        await requestPairing(ours, { me: "${joiner}", them: "${issuer}", name: "laptop",
          invite: parseInvite("${url}") });`);
      expect((await failure(killed)).message).toContain("SIGKILL");
      expect(trust.has(joiner)).toBe(where.includes("answer"));
      expect(await failure(pair(url, await newPeer()))).toEqual(REFUSED);
      expect(await pair(url)).toEqual({ name: "w1" });
      expect(trust.list().map((one) => one.peer)).toEqual([joiner]);
    });
  }

  it("is not undone and done again by a removed peer with the invite it used; a new one lets it in", async () => {
    const url = invites.issue(issuer, [address]);
    await pair(url);
    trust.remove(joiner);
    expect(await failure(pair(url))).toEqual(REFUSED);
    expect(told.at(-1)).toBe("an invite that this peer used before it was removed");
    expect(trust.has(joiner)).toBe(false);
    await pair(invites.issue(issuer, [address]));
    expect(trust.has(joiner)).toBe(true);
  });

  it("refuses what cannot be written down", async () => {
    const url = invites.issue(issuer, [address]);
    trust = {
      ...trust,
      pin: () => {
        throw new Error("the disk is full");
      },
    };
    expect(await failure(pair(url))).toEqual(REFUSED);
    expect(told).toEqual(["the disk is full"]);
  });
});

describe("a refusal", () => {
  it("is the same to the peer, whatever is wrong; the reason is the issuer's own to know", async () => {
    const used = invites.issue(issuer, [address]);
    await pair(used, await newPeer());
    const over = openInvites(folder).issue(issuer, [address], 60_000);
    const fine = invites.issue(issuer, [address]);
    const token = Buffer.from(new URL(fine).searchParams.get("token") ?? "", "base64url");
    token[10] = (token[10] ?? 0) ^ 1;
    const wrongSecret = fine.replace(/token=.*/, `token=${token.toString("base64url")}`);
    const unknown = openInvites(testFolder()).issue(issuer, [address]);

    const errors: SortieError[] = [];
    const sent: number[][] = [];
    const attempt = async (url: string, seenAs = joiner): Promise<void> => {
      const [ours, theirs] = memoryChannelPair();
      const frames: number[] = [];
      const counted: ByteChannel = {
        ...theirs,
        lost: theirs.lost,
        write: (bytes) => {
          frames.push(bytes.length);
          return theirs.write(bytes);
        },
      };
      const answered = answer(counted, seenAs);
      errors.push(await failure(ask(ours, url)));
      await answered;
      sent.push(frames);
    };
    told = [];
    await attempt(used);
    await attempt(wrongSecret);
    await attempt(unknown);
    await attempt(fine, await newPeer());
    invites = openInvites(folder, () => Date.now() + 120_000);
    await attempt(over);

    expect(new Set(errors.map((error) => `${error.code} ${error.message} ${error.hint}`)).size).toBe(1);
    expect(errors[0]).toEqual(REFUSED);
    expect(new Set(sent.map(String)).size).toBe(1);
    expect(told).toEqual([
      "an invite that another peer used",
      "a wrong proof: the token is wrong, or somebody sits in between",
      "an invite that was never issued, or is long over",
      "a wrong proof: the token is wrong, or somebody sits in between",
      "an invite that is over",
    ]);
  });

  it("meets a third party that passes everything on, seen by the issuer under an ID of its own", async () => {
    const url = invites.issue(issuer, [address]);
    const middle = await newPeer();
    const [left, leftMiddle] = memoryChannelPair();
    const [rightMiddle, right] = memoryChannelPair();
    void pipe(leftMiddle, rightMiddle);
    void pipe(rightMiddle, leftMiddle);
    const answered = answer(right, middle);
    expect(await failure(ask(left, url))).toEqual(REFUSED);
    await answered;
    expect(told).toEqual(["a wrong proof: the token is wrong, or somebody sits in between"]);
    expect(trust.list()).toEqual([]);
    // Nothing was used up: the invited one still can.
    expect(await pair(url)).toEqual({ name: "w1" });
  });

  it("comes from the joiner too: it proves nothing to a peer that is not the invite's, and sends it nothing", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    expect(await failure(ask(ours, url, joiner, await newPeer()))).toEqual(REFUSED);
    await expect(theirs.read()).rejects.toThrow();
  });

  it("meets a proof that holds for another issuer", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const answered = answer(theirs, joiner, undefined, await newPeer());
    expect(await failure(ask(ours, url))).toEqual(REFUSED);
    await answered;
    expect(trust.list()).toEqual([]);
  });

  it("meets a proof of an earlier pairing: nonces are new each time", async () => {
    const url = invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const recorded: Buffer[] = [];
    const recording: ByteChannel = {
      ...ours,
      lost: ours.lost,
      write: (bytes) => {
        recorded.push(...[bytes].flat().map((piece) => Buffer.from(piece)));
        return ours.write(bytes);
      },
    };
    await Promise.all([answer(theirs, joiner), ask(recording, url)]);
    const [again, end] = memoryChannelPair();
    for (const bytes of recorded) await again.write(bytes);
    await answer(end, joiner);
    expect(told.at(-1)).toBe("a wrong proof: the token is wrong, or somebody sits in between");
  });
});

describe("the joiner", () => {
  /** Plays an issuer: reads the hello, sends a challenge, and answers the proof with what `reply` makes of it. */
  async function falseIssuer(
    reply: (proof: string) => object,
    challenge: object = { nonce: "00".repeat(32), name: "w1" },
  ) {
    const [ours, theirs] = memoryChannelPair();
    const asked = failure(ask(ours, invites.issue(issuer, [address])));
    await readFrame(theirs);
    await theirs.write(frame(challenge));
    const proven = (await readFrame(theirs)) as { proof: string };
    if (proven) await theirs.write(frame(reply(proven.proof)));
    return asked;
  }

  it("takes no word without proof: a reflected proof is none, nor is one of chance, nor an answer of another form", async () => {
    for (const reply of [(proof: string) => ({ proof }), () => ({ proof: "00".repeat(32) })]) {
      const error = await falseIssuer(reply);
      expect(error).toEqual(REFUSED);
      expect(error.message).toContain("does not hold the invite");
    }
    expect(await falseIssuer(() => ({ paired: true }))).toEqual(REFUSED);
  });

  it("takes no name that is none", async () => {
    const [ours, theirs] = memoryChannelPair();
    const asked = failure(ask(ours, invites.issue(issuer, [address])));
    await readFrame(theirs);
    await theirs.write(frame({ nonce: "00".repeat(32), name: "\u001b[2J" }));
    expect(await asked).toEqual(REFUSED);
  });

  it("is told no more than that the time is over by an issuer that says nothing", async () => {
    const [ours] = memoryChannelPair();
    const invite = parseInvite(invites.issue(issuer, [address]));
    const asked = requestPairing(ours, { me: joiner, them: issuer, name: "laptop", invite }, 50);
    expect(await failure(asked)).toEqual(expect.objectContaining({ code: "TIMEOUT" }));
  });
});

describe("the issuer", () => {
  const hello = { invite: "00".repeat(8), nonce: "00".repeat(32), name: "x" };
  const raw = (text: string): Buffer => {
    const length = Buffer.alloc(4);
    length.writeUInt32BE(Buffer.byteLength(text));
    return Buffer.concat([length, Buffer.from(text)]);
  };
  for (const [what, bytes, reason] of [
    ["a length of 4 GiB", Buffer.from([0xff, 0xff, 0xff, 0xff]), "a pairing frame of 4294967295 bytes"],
    ["a frame of more than 4 KiB", Buffer.from([0, 0, 0x10, 1]), "a pairing frame of 4097 bytes"],
    ["a frame of nothing", Buffer.alloc(4), "a pairing frame that is none"],
    ["text that is not JSON", raw("\u001b[2Jabc"), "a pairing frame that is none"],
    [
      "bytes that are not UTF-8",
      Buffer.concat([Buffer.from([0, 0, 0, 4]), Buffer.alloc(4, 0xff)]),
      "a pairing frame that is none",
    ],
    ["JSON nested 2,000 deep", raw("[".repeat(2_000) + "]".repeat(2_000)), "a pairing frame that is none"],
    ["a list", raw("[]"), "a pairing frame that is none"],
    ["null", raw("null"), "a pairing frame that is none"],
    ["a frame with more in it", frame({ ...hello, more: 1 }), "a pairing frame that is none"],
    [
      "a frame with __proto__ in it",
      raw(JSON.stringify(hello).replace("{", '{"__proto__":{"admin":1},')),
      "a pairing frame that is none",
    ],
    ["fields by __proto__ alone", raw(`{"__proto__":${JSON.stringify(hello)}}`), "a pairing frame that is none"],
    ["a frame with less in it", frame({ invite: hello.invite, nonce: hello.nonce }), "a pairing frame that is none"],
    ["a nonce that is short", frame({ ...hello, nonce: "00" }), "a pairing frame that is none"],
    ["a nonce that is no text", frame({ ...hello, nonce: 7 }), "a pairing frame that is none"],
    ["an invite that is a path", frame({ ...hello, invite: "../../x" }), "a pairing frame that is none"],
    ["a name that acts on a terminal", frame({ ...hello, name: "\u001b]0;x" }), "a pairing frame that is none"],
    [
      "more than pairing ever takes",
      Buffer.concat([frame(hello), Buffer.alloc(64 * 1024)]),
      "more than pairing ever takes",
    ],
    ["the end", Buffer.alloc(0), "the pairing ended in the middle"],
    ["half a frame and the end", frame(hello).subarray(0, 20), "the pairing ended in the middle"],
  ] as const) {
    it(`ends at ${what}, with a reason of its own words`, async () => {
      invites.issue(issuer, [address]);
      const [ours, theirs] = memoryChannelPair();
      const answered = answer(theirs, joiner);
      await ours.write(bytes).catch(() => {});
      await ours.close();
      await answered;
      expect(told).toEqual([reason]);
      expect(trust.list()).toEqual([]);
    });
  }

  it("cuts off a peer that sends a byte now and then: the time is for the whole of it", async () => {
    invites.issue(issuer, [address]);
    const [ours, theirs] = memoryChannelPair();
    const answered = answer(theirs, joiner, 200);
    const bytes = frame(hello);
    let sent = 0;
    const drip = setInterval(() => void ours.write(bytes.subarray(sent, ++sent)).catch(() => {}), 20);
    onTestFinished(() => clearInterval(drip));
    await answered;
    expect(sent).toBeLessThan(bytes.length);
    expect(told).toEqual(["Pairing took too long."]);
    await expect(ours.read()).rejects.toThrow();
  });

  it("answers so many pairings at once and no more, and an honest peer while one stranger takes what he can", async () => {
    const url = invites.issue(issuer, [address]);
    const stranger = await newPeer();
    const held = Array.from({ length: limits.pairingsPerPeer + 5 }, () => {
      const [ours, theirs] = memoryChannelPair();
      return { ours, answered: answer(theirs, stranger) };
    });
    await until(
      () => told.length,
      (count) => count === 5,
    );
    expect(new Set(told)).toEqual(new Set(["too many pairings at once"]));
    expect(await pair(url)).toEqual({ name: "w1" });
    for (const { ours } of held) ours.abort(new Error("gone"));
    await Promise.all(held.map((one) => one.answered));
    expect(await pair(invites.issue(issuer, [address]), stranger)).toEqual({ name: "w1" });
  });
});

describe("pairing over the network", () => {
  /** An issuer that listens, as `runner start` puts it together. */
  async function listener(): Promise<Node> {
    const started = await testNode({
      identity: await loadIdentity(folder),
      listen: ["/ip4/127.0.0.1/tcp/0"],
      trusts: (peer) => trust.has(peer),
      pairingOpen: (peer) => invites.openTo(peer),
      onPair: (channel, peer) => void answer(channel, peer, undefined, started.peer),
    });
    return started;
  }
  async function join_(from: Node, url: string): Promise<{ readonly name: string }> {
    const invite = parseInvite(url);
    const channel = await from.open(invite.peer, invite.addresses, PAIR_PROTOCOL);
    return requestPairing(channel, { me: from.peer, them: invite.peer, name: "laptop", invite });
  }

  it("makes a stranger a peer, by the identities that Noise saw", async () => {
    const runner = await listener();
    const coordinator = await testNode();
    expect(await join_(coordinator, invites.issue(runner.peer, runner.addresses()))).toEqual({ name: "w1" });
    expect(trust.get(coordinator.peer)).toMatchObject({ name: "laptop" });
  });

  it("has no door for a stranger once the invite is used, and one for the peer that used it", async () => {
    const runner = await listener();
    const coordinator = await testNode();
    const url = invites.issue(runner.peer, runner.addresses());
    await join_(coordinator, url);
    const error = await failure(join_(await testNode(), url));
    expect(["UNTRUSTED", "RUNNER_UNREACHABLE"]).toContain(error.code);
    expect(told).toEqual(["paired"]);
    expect(await join_(coordinator, url)).toEqual({ name: "w1" });
  });

  it("fails for somebody in between, who ends Noise under an identity of his own", async () => {
    const runner = await listener();
    const middle = await testNode({
      listen: ["/ip4/127.0.0.1/tcp/0"],
      pairingOpen: () => true,
      onPair: async (channel) => {
        const onward = await middle.open(runner.peer, runner.addresses(), PAIR_PROTOCOL);
        void pipe(channel, onward);
        void pipe(onward, channel);
      },
    });
    const coordinator = await testNode();
    const url = invites.issue(runner.peer, runner.addresses());
    // A dial that is pinned does not get as far as him.
    const port = /tcp\/\d+/.exec(middle.addresses()[0] ?? "")?.[0] ?? "";
    expect((await failure(join_(coordinator, url.replace(/tcp\/\d+/, port)))).code).toBe("RUNNER_UNREACHABLE");
    // One that believed him would give him nothing that he could use.
    const channel = await coordinator.open(middle.peer, middle.addresses(), PAIR_PROTOCOL);
    const invite = parseInvite(url);
    const believing = requestPairing(channel, {
      me: coordinator.peer,
      them: middle.peer,
      name: "laptop",
      invite: { ...invite, peer: middle.peer },
    });
    expect(await failure(believing)).toEqual(REFUSED);
    await until(
      () => told.length,
      (count) => count > 0,
    );
    expect(told).toEqual(["a wrong proof: the token is wrong, or somebody sits in between"]);
    expect(trust.list()).toEqual([]);
  });
});

function frame(content: object): Buffer {
  const json = Buffer.from(JSON.stringify(content));
  return Buffer.concat([Buffer.from([0, 0, json.length >> 8, json.length & 255]), json]);
}

/** One frame that was written at once. */
async function readFrame(channel: ByteChannel): Promise<unknown> {
  const bytes = await channel.read();
  return bytes && JSON.parse(Buffer.from(bytes.subarray(4)).toString());
}

async function pipe(from: ByteChannel, to: ByteChannel): Promise<void> {
  try {
    for (let bytes = await from.read(); bytes; bytes = await from.read()) await to.write(bytes);
    await to.close();
  } catch (error) {
    to.abort(error as Error);
  }
}

import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { describe, expect, onTestFinished } from "vitest";
import type { ByteChannel } from "../../protocol/channel.ts";
import { parseCode } from "../../protocol/code.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { openInvites, parseInvite } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson } from "../../protocol/make-call.ts";
import { CALL_PROTOCOL, type Node, PAIR_PROTOCOL, startNode } from "../../protocol/node.ts";
import { openPairingDoor } from "../../protocol/pair-door.ts";
import { serveCall } from "../../protocol/serve-call.ts";
import { signSuccession, successionHandlers } from "../../protocol/succession.ts";
import { openTrust } from "../../protocol/trust.ts";
import { proveCode, proveInvite } from "../../protocol/use-invite.ts";
import { testFolder, testNode } from "../rig/peers.ts";
import { Rig } from "../rig/rig.ts";
import { attack } from "./attack.ts";

describe("a peer that nobody paired with", () => {
  attack("an unpaired coordinator asks a runner for its info", "no connection, UNTRUSTED", async () => {
    await using rig = new Rig();
    const paired = await rig.pairedRunner("w1");
    const stranger = { env: { SORTIE_HOME: `${rig.folder}/stranger` } };
    // The stranger pinned the runner in a way of its own; the runner knows nothing of it.
    openTrust(`${rig.folder}/stranger/coordinator`).pin(paired.peer, "w1", [paired.address]);
    const refused = await rig.coordinator(["exec", "w1", "--", "true"], stranger);
    expect(refused.code).toBe(125);
    expect(refused.stderr).toContain("error[UNTRUSTED]");
    expect((await rig.coordinator(["exec", "w1", "--", "echo", "still"])).text).toBe("still\n");
  });
});

describe("an invite in the wrong hands", () => {
  attack("a stranger has the invite's id and another token", "PAIRING_REFUSED, and it is not pinned", async () => {
    const issuer = await openIssuer();
    const refused = await refusal(useInvite(await testNode(), withOtherSecret(issuer.issue())));
    expect(refused).toMatch(/^PAIRING_REFUSED: The peer refused the invite/);
    expect(issuer.refused).toEqual(["a wrong proof: the token is wrong, or somebody sits in between"]);
    await issuer.holds();
  });

  attack("a second peer comes with an invite that was used", "no connection, PAIRING_REFUSED", async () => {
    const issuer = await openIssuer();
    const first = await testNode();
    const url = issuer.issue();
    await useInvite(first, url);
    expect(await refusal(useInvite(await testNode(), url))).toMatch(/^PAIRING_REFUSED: .*was used or is over/);
    await issuer.holds(first.peer);
  });

  attack("it comes while another invite lives, so that it gets in", "PAIRING_REFUSED all the same", async () => {
    const issuer = await openIssuer();
    const first = await testNode();
    const url = issuer.issue();
    await useInvite(first, url);
    issuer.issue();
    expect(await refusal(useInvite(await testNode(), url))).toMatch(/^PAIRING_REFUSED: The peer refused the invite/);
    expect(issuer.refused).toEqual(["an invite that another peer used"]);
    await issuer.holds(first.peer);
  });

  attack("the invite is used after its time", "no connection, PAIRING_REFUSED", async () => {
    let now = Date.now();
    const issuer = await openIssuer(() => now);
    const url = issuer.issue();
    now += limits.inviteTtlMs;
    // By the stranger's own clock it lives still.
    expect(await refusal(useInvite(await testNode(), url))).toMatch(/^PAIRING_REFUSED: .*was used or is over/);
    await issuer.holds();
  });

  attack("the token of one runner is shown to another", "PAIRING_REFUSED", async () => {
    const [issuer, other] = await Promise.all([openIssuer(), openIssuer()]);
    other.issue();
    const invite = parseInvite(issuer.issue());
    const there = { ...invite, peer: other.node.peer, addresses: other.node.addresses() };
    expect(await refusal(proveInvite(await testNode(), "evil", there))).toMatch(/^PAIRING_REFUSED: /);
    expect(other.refused).toEqual(["an invite that was never issued, or is long over"]);
    await Promise.all([issuer.holds(), other.holds()]);
  });

  attack(
    "somebody else has the address that the invite names",
    "RUNNER_UNREACHABLE, and he hears nothing",
    async () => {
      const issuer = await openIssuer();
      const heard: string[] = [];
      const impostor = await testNode({
        listen: ["/ip4/127.0.0.1/tcp/0"],
        pairingOpen: () => true,
        onPair: async (_channel, peer) => void heard.push(peer),
      });
      const url = issuer.issue().replace(/tcp\/\d+/, `tcp/${portIn(impostor)}`);
      expect(await refusal(useInvite(await testNode(), url))).toMatch(/^RUNNER_UNREACHABLE: .*does not match/);
      expect(heard).toEqual([]);
      await issuer.holds();
    },
  );

  attack("a third party passes the frames of a pairing on", "its proof holds for nobody else", async () => {
    const issuer = await openIssuer();
    const middle = await openMiddle(issuer.node);
    const invite = parseInvite(issuer.issue());
    // Even one who believes him gives him nothing that he could use.
    const believing = { ...invite, peer: middle.peer, addresses: middle.addresses() };
    expect(await refusal(proveInvite(await testNode(), "laptop", believing))).toMatch(/^PAIRING_REFUSED: /);
    expect(issuer.refused).toEqual(["a wrong proof: the token is wrong, or somebody sits in between"]);
    await issuer.holds();
  });

  attack("a peer that was revoked comes back with the invite it used", "no connection, PAIRING_REFUSED", async () => {
    const issuer = await openIssuer();
    const identity = await loadIdentity(testFolder());
    const url = issuer.issue();
    await useInvite(await testNode({ identity }), url);
    issuer.trust.remove(identity.peer);
    // Over a new connection: the one before is just ending.
    expect(await refusal(useInvite(await testNode({ identity }), url))).toMatch(/^PAIRING_REFUSED: .*ended the conn/);
    await issuer.holds();
  });

  attack("it comes back with that invite and the key before its last one", "PAIRING_REFUSED as well", async () => {
    const issuer = await openIssuer();
    const [first, next, last] = await Promise.all([1, 2, 3].map(() => loadIdentity(testFolder())));
    if (!first || !next || !last) throw new Error("three keys");
    const url = issuer.issue();
    await useInvite(await testNode({ identity: first }), url);
    issuer.trust.succeed(first.peer, next.peer);
    issuer.trust.succeed(next.peer, last.peer);
    issuer.trust.remove(last.peer);
    issuer.issue();
    expect(await refusal(useInvite(await testNode({ identity: first }), url))).toMatch(/^PAIRING_REFUSED: /);
    expect(issuer.refused).toEqual(["an invite that this peer used before it was removed"]);
    await issuer.holds();
  });

  attack("a stranger wants to pair while no invite lives", "no connection, UNTRUSTED", async () => {
    const issuer = await openIssuer();
    const stranger = await testNode();
    const opened = stranger.open(issuer.node.peer, issuer.node.addresses(), PAIR_PROTOCOL);
    expect(await refusal(opened)).toMatch(/^UNTRUSTED: .*ended the connection/);
    await issuer.holds();
  });
});

describe("what a stranger sends instead of a pairing", () => {
  for (const [what, bytes, reason] of [
    ["a frame of 4 GiB", Buffer.alloc(8, 0xff), "a pairing frame of 4294967295 bytes"],
    ["garbage", Buffer.from([0, 0, 0, 4, 1, 2, 3, 4]), "a pairing frame that is none"],
    ["fields of __proto__", frame(JSON.parse('{"__proto__":{"invite":"00"}}')), "a pairing frame that is none"],
    ["an invite and a code at once", frame({ invite: "00".repeat(8), code: 1 }), "a pairing frame that is none"],
  ] as const)
    attack(`it sends ${what}`, "the pairing ends, and counts against its host", async () => {
      const issuer = await openIssuer();
      issuer.issue();
      const stranger = await testNode();
      const channel = await stranger.open(issuer.node.peer, issuer.node.addresses(), PAIR_PROTOCOL);
      await channel.write(bytes);
      await expect(channel.read()).rejects.toThrow();
      expect(issuer.refused).toEqual([reason]);
      await issuer.holds();
    });
});

describe("a host whose guesses are wrong", () => {
  attack(
    "five wrong tokens, and then the right one",
    "it has to wait; who comes from elsewhere pairs at once",
    async () => {
      const issuer = await openIssuer();
      const url = issuer.issue();
      for (let guess = 0; guess < limits.failedPairingsFree; guess++)
        expect(await refusal(useInvite(await testNode(), withOtherSecret(url)))).toMatch(
          /^PAIRING_REFUSED: The peer refused/,
        );
      const guesser = await testNode();
      expect(await refusal(useInvite(guesser, url))).toMatch(/^PAIRING_REFUSED: The peer ended the connection/);
      expect(issuer.refused.at(-1)).toBe("so many pairings failed that 127.0.0.1 has to wait 10 s");
      const port = await fromElsewhere(portIn(issuer.node));
      const honest = await testNode();
      expect(await useInvite(honest, url.replace(/tcp\/\d+/, `tcp/${port}`))).toEqual({ name: "w1" });
      await issuer.holds(honest.peer);
    },
  );

  attack(
    "one host takes all the connections that strangers get",
    "it gets a few; who comes from elsewhere pairs",
    async () => {
      const issuer = await openIssuer();
      const url = issuer.issue();
      const opened = await Promise.all(
        Array.from({ length: limits.strangersPerHost + 4 }, async () => {
          const stranger = await testNode();
          return refusal(stranger.open(issuer.node.peer, issuer.node.addresses(), PAIR_PROTOCOL));
        }),
      );
      expect(opened.filter((one) => one.startsWith("none")).length).toBe(limits.strangersPerHost);
      const port = await fromElsewhere(portIn(issuer.node));
      const honest = await testNode();
      expect(await useInvite(honest, url.replace(/tcp\/\d+/, `tcp/${port}`))).toEqual({ name: "w1" });
      await issuer.holds(honest.peer);
    },
  );
});

describe("a code that is guessed", () => {
  attack("three wrong codes, and then the right one", "it is burned", async () => {
    const issuer = await openIssuer();
    const { code } = issuer.invites.codes.issue();
    for (let guess = 0; guess < limits.codeTries; guess++)
      expect(await refusal(useCode(await testNode(), wrongCode(code), issuer.node))).toMatch(
        /^PAIRING_REFUSED: The peer refused the code/,
      );
    expect(await refusal(useCode(await testNode(), code, issuer.node))).toMatch(/^PAIRING_REFUSED: /);
    expect(issuer.refused.at(-1)).toMatch(/the code is burned$/);
    await issuer.holds();
  });

  attack("a third party passes the frames of a pairing by code on", "the key is another for each side", async () => {
    const issuer = await openIssuer();
    const { code } = issuer.invites.codes.issue();
    const middle = await openMiddle(issuer.node);
    expect(await refusal(useCode(await testNode(), code, middle))).toMatch(/^PAIRING_REFUSED: /);
    expect(issuer.refused[0]).toMatch(/^a wrong code, or somebody sits in between/);
    await issuer.holds();
  });

  for (const [what, share] of [
    ["the neutral element", "00".repeat(32)],
    ["no element of the group", "ff".repeat(32)],
  ] as const)
    attack(`its share is ${what}`, "refused, and no try is lost", async () => {
      const issuer = await openIssuer();
      const { code } = issuer.invites.codes.issue();
      const stranger = await testNode();
      const channel = await stranger.open(issuer.node.peer, issuer.node.addresses(), PAIR_PROTOCOL);
      await channel.write(frame({ code: Number(code[0]), share, nonce: "11".repeat(32), name: "evil" }));
      await expect(channel.read()).rejects.toThrow();
      expect(issuer.refused).toEqual(["a share that is none"]);
      const honest = await testNode();
      expect(await useCode(honest, code, issuer.node)).toEqual({ name: "w1" });
      await issuer.holds(honest.peer);
    });

  attack(
    "an issuer that does not know the code sends each share back",
    "PAIRING_REFUSED, and it gets no proof",
    async () => {
      const got: Uint8Array[] = [];
      const mirror = await testNode({
        listen: ["/ip4/127.0.0.1/tcp/0"],
        pairingOpen: () => true,
        async onPair(channel) {
          const hello = JSON.parse(Buffer.from((await channel.read())?.subarray(4) ?? []).toString());
          await channel.write(frame({ nonce: hello.nonce, name: hello.name, share: hello.share }));
          const next = await channel.read().catch(() => undefined);
          if (next) got.push(next);
        },
      });
      expect(await refusal(useCode(await testNode(), "7-K3MP-9XQ2", mirror))).toMatch(/^PAIRING_REFUSED: /);
      expect(got).toEqual([]);
    },
  );
});

describe("a key that was replaced", () => {
  attack(
    "a trusted peer claims a succession that the old key did not sign",
    "UNTRUSTED, and no pin moves",
    async () => {
      const issuer = await openIssuer();
      const [victim, evil, next] = await Promise.all([1, 2, 3].map(() => loadIdentity(testFolder())));
      if (!victim || !evil || !next) throw new Error("three keys");
      issuer.trust.pin(victim.peer, "victim", []);
      issuer.trust.pin(evil.peer, "evil", []);
      const node = await testNode({ identity: evil });
      const forged = { ...signSuccession(evil, next), old: victim.peer };
      for (const successions of [[forged], [signSuccession(victim, next)], [signSuccession(evil, victim)]]) {
        const channel = await node.open(issuer.node.peer, issuer.node.addresses(), CALL_PROTOCOL);
        expect(await refusal(callJson(channel, "/trust/succeed", { successions }))).toMatch(/^UNTRUSTED: /);
      }
      await issuer.holds(victim.peer, evil.peer);
    },
  );

  attack("somebody uses a key that its peer has replaced", "no connection, and no invite brings it back", async () => {
    const issuer = await openIssuer();
    const [old, next] = await Promise.all([loadIdentity(testFolder()), loadIdentity(testFolder())]);
    issuer.trust.pin(old.peer, "laptop", []);
    issuer.trust.succeed(old.peer, next.peer);
    const thief = await testNode({ identity: old });
    const opened = thief.open(issuer.node.peer, issuer.node.addresses(), CALL_PROTOCOL);
    expect(await refusal(opened)).toMatch(/^UNTRUSTED: /);
    expect(await refusal(useInvite(thief, issuer.issue()))).toMatch(/^PAIRING_REFUSED: /);
    expect(issuer.refused).toEqual(["an identity that its peer has left for another"]);
    await issuer.holds(next.peer);
  });
});

/** An issuer as a runner puts it together, with a peer that it trusts, and whose calls are to go on. */
async function openIssuer(now?: () => number) {
  const folder = testFolder();
  const trust = openTrust(folder);
  const invites = openInvites(folder, now);
  const identity = await loadIdentity(folder);
  const friend = await testNode();
  trust.pin(friend.peer, "friend", []);
  const refused: string[] = [];
  const door = openPairingDoor({
    me: identity.peer,
    name: "w1",
    invites,
    trust,
    onRefused: (reason) => refused.push(reason),
  });
  const handlers = {
    "/runner/info": async () => INFO,
    ...successionHandlers(folder, identity.peer, trust),
  };
  const node = await startNode({
    identity,
    listen: ["/ip4/127.0.0.1/tcp/0"],
    trusts: (peer) => trust.has(peer),
    ...door,
    onCall: (channel, peer) => serveCall(channel, handlers, { peer, name: "x" }),
  });
  onTestFinished(() => node.stop());
  return {
    node,
    trust,
    invites,
    refused,
    issue: () => invites.issue(node.peer, node.addresses()),
    /** What of the attack is left: who is trusted, and whether a friend's calls go on. */
    async holds(...others: string[]): Promise<void> {
      expect(trust.list().map((pin) => pin.peer)).toEqual([friend.peer, ...others]);
      const channel = await friend.open(node.peer, node.addresses(), CALL_PROTOCOL);
      expect(await callJson(channel, "/runner/info", {})).toEqual(INFO);
    },
  };
}

const INFO = { name: "w1", version: "1", labels: {}, slots: 1, busy: 0, draining: false };

/** The error's code and message, as a person sees them. */
const refusal = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "none: it was taken",
    (error: SortieError) => `${error.code}: ${error.message}`,
  );

const useInvite = (node: Node, url: string) => proveInvite(node, "evil", parseInvite(url));
const useCode = (node: Node, code: string, at: Node) =>
  proveCode(node, "evil", parseCode(code), { peer: at.peer, addresses: at.addresses() });
const withOtherSecret = (url: string): string => {
  const token = Buffer.from(new URL(url).searchParams.get("token") ?? "", "base64url");
  token[10] = (token[10] ?? 0) ^ 1;
  return url.replace(/token=[^&]*/, `token=${token.toString("base64url")}`);
};
const wrongCode = (code: string): string => `${code.slice(0, -1)}${code.endsWith("7") ? "8" : "7"}`;
const portIn = (node: Node): number => Number(/tcp\/(\d+)/.exec(node.addresses()[0] ?? "")?.[1]);

/** Passes on to the port from another address of this machine: another host, to who listens there. */
async function fromElsewhere(port: number): Promise<number> {
  const sockets = new Set<Socket>();
  const server = createServer((near) => {
    const far = connect({ port, host: "127.0.0.1", localAddress: "127.0.0.2" });
    for (const socket of [near, far]) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        near.destroy();
        far.destroy();
      });
    }
    near.pipe(far);
    far.pipe(near);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.close();
    for (const socket of sockets) socket.destroy();
  });
  return (server.address() as AddressInfo).port;
}

/** Ends Noise under an identity of its own, and passes the frames of pairings on, both ways. */
async function openMiddle(to: Node): Promise<Node> {
  const middle: Node = await testNode({
    listen: ["/ip4/127.0.0.1/tcp/0"],
    pairingOpen: () => true,
    async onPair(channel) {
      const onward = await middle.open(to.peer, to.addresses(), PAIR_PROTOCOL);
      await Promise.all([pipe(channel, onward), pipe(onward, channel)]);
    },
  });
  return middle;
}

async function pipe(from: ByteChannel, to: ByteChannel): Promise<void> {
  try {
    for (let bytes = await from.read(); bytes; bytes = await from.read()) await to.write(bytes);
    await to.close();
  } catch (error) {
    to.abort(error as Error);
  }
}

function frame(content: object): Buffer {
  const json = Buffer.from(JSON.stringify(content));
  return Buffer.concat([Buffer.from([0, 0, json.length >> 8, json.length & 255]), json]);
}

// Attacks on a coordinator that listens for runners, on runners that dial it, and on the socket between its processes.
import { statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { openFleet } from "../../coordinator/fleet.ts";
import { listenerSocket } from "../../coordinator/listener.ts";
import { encodeEnvelope } from "../../protocol/envelope.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { loadIdentity } from "../../protocol/identity.ts";
import { openInvites, parseInvite } from "../../protocol/invite.ts";
import { limits } from "../../protocol/limits.ts";
import { dialSocket } from "../../protocol/local-socket.ts";
import { callJson, callRaw } from "../../protocol/make-call.ts";
import { CALL_PROTOCOL, type Node, PAIR_PROTOCOL, startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { proveInvite } from "../../protocol/use-invite.ts";
import { keepJoined } from "../../runner/join.ts";
import { newPeer, testFolder } from "../rig/peers.ts";
import { openProxy, portOf } from "../rig/proxy.ts";
import { LOOPBACK, Rig, type RunnerProcess, until } from "../rig/rig.ts";
import { attack } from "./attack.ts";

const rig = new Rig();
const folder = join(rig.home, "coordinator");
let runner: RunnerProcess;
let coordinator = "";
let addresses: string[] = [];
const nodes: Node[] = [];

beforeAll(async () => {
  runner = await rig.joinedRunner("w1", { invite: LOOPBACK });
  const listening = rig.spawnCoordinator(["listen"]);
  const [, address = "", peer = ""] = await listening.waitFor(/listening: (\S+\/p2p\/(\S+))/);
  coordinator = peer;
  addresses = [address];
  // It dials again within about a second, or whatever a busy machine makes of that; a call waits for little more.
  const came = await until(
    () => asked().catch((error: unknown) => String(error)),
    (answer) => typeof answer !== "string",
  );
  if (typeof came === "string") throw new Error(came);
});
afterAll(async () => {
  for (const node of nodes) await node.stop();
  await rig[Symbol.asyncDispose]();
});

/** A peer of its own, that trusts everybody. */
async function newNode(listen: readonly string[] = []): Promise<Node> {
  const identity = await loadIdentity(testFolder());
  const node = await startNode({ identity, listen, trusts: () => true, pairingOpen: () => true });
  nodes.push(node);
  return node;
}

const refusal = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing was refused",
    ({ code, message }: SortieError) => `${code}: ${message}`,
  );

/** What the joined runner answers, by way of the process that is attacked. */
async function asked(): Promise<object> {
  const fleet = openFleet(folder);
  try {
    const [pin] = fleet.trust.list().filter(({ name }) => name === "w1");
    if (!pin) throw new Error("w1 is not pinned");
    return await callJson(await fleet.link(pin).open(), "/runner/info", {});
  } finally {
    await fleet.close();
  }
}

const expectWorks = async (): Promise<void> => expect(await asked()).toMatchObject({ name: "w1" });

describe("a coordinator that listens", () => {
  attack("a stranger dials it while no invite lives", "no connection, for calls or for pairing", async () => {
    const stranger = await newNode();
    for (const protocol of [CALL_PROTOCOL, PAIR_PROTOCOL] as const)
      expect(await refusal(stranger.open(coordinator, addresses, protocol))).toMatch(/^UNTRUSTED: .* ended the conn/);
    await expectWorks();
  });

  attack("a runner that it trusts calls it, as it is called", "nothing is served to runners", async () => {
    const evil = await newNode();
    openTrust(folder).pin(evil.peer, "evil", []);
    const run = async (): Promise<unknown> => {
      const channel = await evil.open(coordinator, addresses, CALL_PROTOCOL);
      return callRaw(channel, "/joined/open", { peer: runner.peer, withinMs: 0 });
    };
    const info = async (): Promise<unknown> =>
      callJson(await evil.open(coordinator, addresses, CALL_PROTOCOL), "/runner/info", {});
    for (const call of [run, info]) expect(await refusal(call())).toMatch(/^PROTOCOL: There is no operation /);
    // It has a connection all the same, and is called over it.
    const { ended } = await evil.connect(coordinator, addresses, limits.joinDialMs);
    await expectWorks();
    openTrust(folder).remove(evil.peer);
    await ended;
  });

  attack("a runner that it revoked dials on and on", "no connection lasts, and the runner says why", async () => {
    const revoked = await newNode();
    openTrust(folder).pin(revoked.peer, "revoked", []);
    openTrust(folder).remove(revoked.peer);
    const trust = openTrust(testFolder());
    trust.pin(coordinator, "laptop", addresses);
    const said: string[] = [];
    const stop = keepJoined({ folder: testFolder(), node: revoked, trust, log: (line) => said.push(line) });
    // Before that it may say that it is connected, where the other side takes a second to end that.
    const why = "laptop ends each connection at once: does it still trust this runner?";
    await until(
      () => said,
      (lines) => lines.includes(why),
    );
    stop();
    expect(said).toContain(why);
    await expectWorks();
  });

  attack("a runner that it revoked comes again with the invite that it had used", "no connection", async () => {
    const revoked = await newNode();
    const invite = parseInvite(openInvites(folder).issue(coordinator, addresses));
    await proveInvite(revoked, "revoked", invite);
    openTrust(folder).remove(revoked.peer);
    // The listening process sees that by itself, and ends the connection.
    await (await revoked.connect(coordinator, addresses, limits.joinDialMs)).ended;
    expect(await refusal(proveInvite(revoked, "revoked", invite))).toMatch(/^PAIRING_REFUSED: .*ended the connection/);
    openInvites(folder).withdraw(invite.id);
    await expectWorks();
  });

  attack("a second runner comes with an invite that was used", "PAIRING_REFUSED, and it is not pinned", async () => {
    const second = await newNode();
    const refused = await refusal(proveInvite(second, "w2", parseInvite(runner.invite)));
    expect(refused).toMatch(/^PAIRING_REFUSED: .*the invite was used or is over/);
    expect(openTrust(folder).has(second.peer)).toBe(false);
    await expectWorks();
  });
});

describe("a runner that dials", () => {
  attack(
    "another peer has its coordinator's address",
    "it is asked for what the right one's key has signed, and dialled on until the right one is there",
    async () => {
      const impostor = await newNode(["/ip4/127.0.0.1/tcp/0"]);
      const real = await newNode(["/ip4/127.0.0.1/tcp/0"]);
      let port = portOf(impostor.addresses()[0] ?? "");
      const proxy = await openProxy(() => port);
      const dials = await newNode();
      const trust = openTrust(testFolder());
      trust.pin(real.peer, "laptop", [`/ip4/127.0.0.1/tcp/${proxy.port}/p2p/${real.peer}`]);
      const said: string[] = [];
      const stop = keepJoined({ folder: testFolder(), node: dials, trust, log: (line) => said.push(line) });
      try {
        await until(
          () => said.length,
          (count) => count > 0,
        );
        expect(said[0]).toMatch(/^not connected to laptop: /);
        expect(trust.list().map((pin) => pin.peer)).toEqual([real.peer]);
        port = portOf(real.addresses()[0] ?? "");
        expect(await real.arrives(dials.peer, 30_000)).toBe(true);
      } finally {
        stop();
        await proxy.close();
      }
    },
  );
});

describe("the socket between processes of a coordinator", () => {
  /** What comes back for these bytes, until the other side ends it. */
  const answer = (bytes: Uint8Array): Promise<string> =>
    new Promise((resolve) => {
      const socket = connect(listenerSocket(folder));
      let text = "";
      socket.on("data", (data) => {
        text += data;
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve(text));
      socket.on("end", () => socket.destroy());
      socket.write(bytes);
    });
  const request = (input: object, operationId = "/joined/open"): Buffer =>
    Buffer.from(encodeEnvelope({ type: "call.requested", id: "1", payload: { operationId, carriage: "raw", input } }));

  attack("somebody else's user opens it", "its folder is this user's alone", () => {
    expect(statSync(join(folder, "listen")).mode & 0o777).toBe(0o700);
  });

  for (const [name, bytes] of [
    ["garbage", Buffer.alloc(64 * 1024, 0xff)],
    ["a frame of four gibibytes", Buffer.from([0xff, 0xff, 0xff, 0xff, 0x7b])],
    ["a frame that is no JSON", Buffer.concat([Buffer.from([0, 0, 0, 4]), Buffer.from("{{{{")])],
    ["a frame with more than belongs there", request({ peer: "x", withinMs: 0, __proto: 1 })],
    ["a wait of a year", request({ peer: "x", withinMs: 31_536_000_000 })],
    ["a peer's name of a megabyte", request({ peer: "x".repeat(900_000), withinMs: 0 })],
    ["another operation", request({}, "/job/run")],
    ["an operation of Object.prototype", request({}, "constructor")],
  ] as const) {
    attack(`it is sent ${name}`, "PROTOCOL, and the socket is closed", async () => {
      expect(await answer(bytes)).toMatch(/"code":"PROTOCOL"/);
      await expectWorks();
    });
  }

  attack("it is asked for a peer that nobody trusts", "NOT_FOUND, and nobody is dialled", async () => {
    const channel = await dialSocket(listenerSocket(folder));
    if (!channel || channel === "busy") throw new Error("nobody listens");
    const call = callRaw(channel, "/joined/open", { peer: await newPeer(), withinMs: 0 });
    expect(await refusal(call)).toMatch(/^NOT_FOUND: /);
    await expectWorks();
  });

  attack("the remembered address is damaged", "STATE_INVALID, and nothing is listened on", async () => {
    const home = testFolder();
    openTrust(home).pin(await newPeer(), "w1", []);
    writeFileSync(join(home, "listen.json"), '{"listen":"/ip4/0.0.0.0/tcp/1; rm -rf /","bound":[]}');
    const fleet = openFleet(home);
    expect(await fleet.reachAll()).toMatchObject([{ error: { code: "STATE_INVALID" } }]);
    await fleet.close();
  });
});

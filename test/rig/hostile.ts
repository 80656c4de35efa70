// Peers in the test's own process that a runner trusts, or does not: what they send over real connections is up to the test.
import { connect, type Socket } from "node:net";
import { noise } from "@libp2p/noise";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p, type Libp2p } from "libp2p";
import type { ByteChannel } from "../../protocol/channel.ts";
import { encodeControl } from "../../protocol/chunk.ts";
import { EnvelopeReader, encodeEnvelope } from "../../protocol/envelope.ts";
import type { SortieError } from "../../protocol/errors.ts";
import { type Identity, loadIdentity } from "../../protocol/identity.ts";
import { type JobName, newAttemptId, newRunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { callJson, callRaw } from "../../protocol/make-call.ts";
import type { CallerControl, InputOf, JobRequest, JsonOperationId } from "../../protocol/messages.ts";
import { CALL_PROTOCOL, type Node, type Protocol, startNode } from "../../protocol/node.ts";
import { openTrust } from "../../protocol/trust.ts";
import { portOf } from "./proxy.ts";
import type { RunnerProcess } from "./rig.ts";

/** What is attacked: a runner process's own particulars, or those of one that the test made. */
export type Target = Pick<RunnerProcess, "peer" | "address" | "home">;

export interface TestPeer {
  readonly node: Node;
  readonly identity: Identity;
  /** A channel on which nothing was said yet. */
  open(protocol?: Protocol): Promise<ByteChannel>;
  json<Id extends JsonOperationId>(id: Id, input: InputOf<Id>): ReturnType<typeof callJson<Id>>;
  /** A job under way. */
  run(request: JobRequest, window?: number): ReturnType<typeof callRaw<"/job/run">>;
  attach(
    attemptId: JobRequest["attemptId"],
    more?: Partial<InputOf<"/job/attach">>,
  ): ReturnType<typeof callRaw<"/job/attach">>;
  stop(): Promise<void>;
}

/** A peer with a connection of its own; the runner trusts it from now on, unless it is a stranger. */
export async function testPeer(target: Target, folder: string, name: string, stranger = false): Promise<TestPeer> {
  const identity = await loadIdentity(`${folder}/${name}`);
  if (!stranger) openTrust(`${target.home}/runner`).pin(identity.peer, name, []);
  const node = await startNode({ identity, listen: [], trusts: () => true, pairingOpen: () => false });
  const open = (protocol: Protocol = CALL_PROTOCOL) => node.open(target.peer, [target.address], protocol);
  return {
    node,
    identity,
    open,
    json: async (id, input) => callJson(await open(), id, input),
    run: async (request, window = limits.windowMinimum) =>
      callRaw(await open(), "/job/run", { request, window, holder: name }),
    attach: async (attemptId, more = {}) =>
      callRaw(await open(), "/job/attach", {
        attemptId,
        offset: 0,
        control: false,
        window: limits.windowMinimum,
        holder: name,
        ...more,
      }),
    stop: () => node.stop(),
  };
}

export const jobOf = (shell: string, more: Partial<JobRequest> = {}): JobRequest => ({
  attemptId: newAttemptId(),
  run: newRunId(),
  job: "job" as JobName,
  attempt: 1,
  steps: [{ shell }],
  env: [],
  graceMs: 100,
  stdin: false,
  ...more,
});

/** The text of a request's envelope, to be spoiled; `input` is JSON already. */
export const requestText = (operationId: string, input: string, carriage = "json"): string =>
  `{"type":"call.requested","id":"1","payload":{"operationId":"${operationId}","carriage":"${carriage}","input":${input}}}`;

/** The text with its length before it. */
export function framed(text: string | Uint8Array, length?: number): Buffer {
  const body = Buffer.from(text as string);
  const head = Buffer.alloc(4);
  head.writeUInt32BE(length ?? body.length);
  return Buffer.concat([head, body]);
}

/** A chunk whose header says what the test likes. */
export function chunk(stream: number, payload: Uint8Array | string, length?: number): Buffer {
  const body = Buffer.from(payload as string);
  const head = Buffer.alloc(5);
  head[0] = stream;
  head.writeUInt32BE(length ?? body.length, 1);
  return Buffer.concat([head, body]);
}

export const control = (message: CallerControl): Uint8Array => encodeControl(message);

/** What a peer says to these bytes: `CODE: message` of a call.error, `answered`, or how the channel ended. */
export async function answerTo(peer: TestPeer, bytes: Uint8Array | string, end = false): Promise<string> {
  const channel = await peer.open();
  try {
    await channel.write(Buffer.from(bytes as string));
    if (end) await channel.close();
    const envelope = await new EnvelopeReader(channel).next();
    if (!envelope) return "ended";
    if (envelope.type !== "call.error") return "answered";
    return `${envelope.payload.code}: ${envelope.payload.message}`;
  } catch (error) {
    return (error as SortieError).code;
  } finally {
    channel.abort(new Error("The test has its answer."));
  }
}

/** The code of what it rejects with, or `nothing`. */
export const codeOf = (promise: Promise<unknown>): Promise<string> =>
  promise.then(
    () => "nothing",
    (error: SortieError) => error.code ?? String(error),
  );

/** Reads until the channel ends, and gives the code of what ended it, or `ended`. */
export async function endOf(channel: Pick<ByteChannel, "read">): Promise<string> {
  try {
    while (await channel.read());
    return "ended";
  } catch (error) {
    return (error as SortieError).code;
  }
}

/** A libp2p node of nobody's limits, as the identity, connected to the target: for streams that say nothing, and worse. */
export async function rawNode(target: Target, identity: Identity): Promise<Libp2p> {
  const node = await createLibp2p({
    privateKey: identity.privateKey,
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ maxOutboundStreams: 100_000, enableKeepAlive: false })],
    connectionMonitor: { enabled: false },
  });
  try {
    await node.dial(multiaddr(target.address));
  } catch (error) {
    await node.stop();
    throw error;
  }
  return node;
}

/** Sockets that the target has taken, and on which nothing was said. */
export async function sockets(target: Target, count: number, from = "127.0.0.1"): Promise<Socket[]> {
  const port = portOf(target.address);
  return Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<Socket>((resolve) => {
          const socket = connect({ port, host: "127.0.0.1", localAddress: from }, () => resolve(socket));
          socket.on("error", () => resolve(socket));
          socket.resume();
        }),
    ),
  );
}

export { encodeEnvelope };

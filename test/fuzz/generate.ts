// What the fuzz run sends: for every operation a valid request, and what a seed makes of it. play.ts sends it.
import { newAttemptId, newId, newRunId } from "../../protocol/ids.ts";
import { limits } from "../../protocol/limits.ts";
import { type OperationId, operations } from "../../protocol/messages.ts";
import type { Random } from "../chaos/random.ts";

export const operationIds = Object.keys(operations) as OperationId[];

/** Commands that are harmless, and soon over: nothing that a seed draws is ever a program or a script of its own. */
const SCRIPTS = [
  "true",
  "exit 3",
  "echo out; echo err >&2",
  "cat",
  "cat > /dev/null",
  "head -c 3000000 /dev/zero",
  "sleep 0.63",
  "exec 1>&- 2>&-; sleep 0.21",
  "printf 'a\\033[31mb'; kill -9 $$",
];

/** Values that are no argument, name or path of anything that is there. */
const HOSTILE: readonly unknown[] = [
  null,
  true,
  -1,
  0.5,
  1e308,
  2 ** 53,
  -0,
  "",
  "a\0b",
  "../x",
  "-x",
  "\u202e\u001b[2J\n",
  "\ud800",
  "x".repeat(100_000),
  "__proto__",
  [],
  {},
  Array.from({ length: 2_000 }, () => 1),
  { __proto__: null, constructor: 1, toString: 2 },
  [[[[[[[[[[]]]]]]]]]],
];

/** Two of nobody's, and one that is none. */
const PEERS = [
  "12D3KooWGRb3rW5dCUN112wQFGebSYwDegLdcNSPZ7K4tvWvb3T3",
  "12D3KooWAKvL6vLwVtnvPMUjP8SXTQ3bv4EAnD3ch3rzJ6t76jBK",
  "nobody",
];

/** Attempts that the attacker knows of: its own, another peer's, and one that is none. */
export type Known = readonly string[];

function job(random: Random, known: Known): object {
  const driven = random.chance(10);
  const within = !driven && random.chance(10) && known.length > 0;
  return {
    attemptId: random.chance(10) && known.length > 0 ? random.pick(known) : newAttemptId(),
    run: newRunId(),
    job: "fuzz",
    attempt: random.between(1, 3),
    steps: driven
      ? []
      : Array.from({ length: within || random.chance(80) ? 1 : 3 }, () => ({ shell: random.pick(SCRIPTS) })),
    ...(driven ? { driven: true } : {}),
    ...(within ? { within: random.pick(known) } : {}),
    env: random.chance(30) ? [["NAME", "value"]] : [],
    graceMs: random.between(0, 200),
    stdin: !driven && random.chance(50),
    ...(random.chance(20) ? { timeoutMs: random.between(1, 1_000) } : {}),
    ...(random.chance(20) && !within ? { leaseMs: 1_000 } : {}),
  };
}

const windowOf = (random: Random): number => random.between(limits.windowMinimum, limits.windowMaximum);
const attach = (random: Random, known: Known): object => ({
  attemptId: known.length > 0 && random.chance(90) ? random.pick(known) : newAttemptId(),
  offset: random.chance(60) ? 0 : random.between(0, 100_000),
  control: random.chance(50),
  window: windowOf(random),
  holder: newId(),
});
const decision = { peer: "peer", name: "peer", wants: [{ kind: "run", value: "true" }], rule: "allow everything" };
const run = (random: Random, known: Known): object => ({
  request: job(random, known),
  window: windowOf(random),
  holder: newId(),
  ...(random.chance(20) ? { signature: { by: "1".repeat(52), at: Date.now(), value: "A".repeat(86) } } : {}),
});

/** A valid input of each operation: what is added to the protocol has to be added here. */
const inputs: { readonly [Id in OperationId]: (random: Random, known: Known) => object } = {
  "/runner/info": () => ({}),
  "/runner/watch": () => ({}),
  "/job/run": run,
  "/job/attach": attach,
  "/job/list": () => ({}),
  "/job/logs": (random, known) => ({
    attemptId: known.length > 0 ? random.pick(known) : newAttemptId(),
    offset: 0,
    follow: random.chance(50),
  }),
  "/keeper/info": () => ({}),
  "/keeper/leave": () => ({}),
  "/keeper/watch": () => ({ limits: { job: 1, all: 1, keptMs: 1 } }),
  "/keeper/run": (random, known) => ({ owner: "embedded", slots: 1, leaseMs: null, decision, ...run(random, known) }),
  "/keeper/attach": (random, known) => ({ owner: "embedded", ...attach(random, known) }),
  "/keeper/audit": () => ({ events: [{ type: "stranger", peer: "peer", host: "192.0.2.1" }] }),
  "/keeper/place": (random, known) => ({ owner: "embedded", attemptId: random.pick([...known, newAttemptId()]) }),
  "/joined/open": () => ({ peer: "embedded", withinMs: 1 }),
  "/trust/succession": (random) => ({ of: random.pick(PEERS) }),
  // Well formed, and signed by nobody: a seed must not move the attacker's own pin.
  "/trust/succeed": (random) => ({
    successions: Array.from({ length: random.between(0, 3) }, () => ({
      old: random.pick(PEERS),
      new: random.pick(PEERS),
      at: Date.now(),
      signedByOld: "AAAA",
      signedByNew: "AAAA",
    })),
  }),
  "/keeper/list": () => ({ owner: "embedded" }),
  "/keeper/cancel": () => ({ owner: null }),
};

/** The request's JSON, valid or spoiled in its structure or its text. */
export function requestOf(random: Random, id: OperationId, known: Known): string {
  const payload = { operationId: id, carriage: operations[id].carriage, input: inputs[id](random, known) };
  const envelope: unknown = { type: "call.requested", id: newId(), payload };
  const spoilt = random.chance(40) ? envelope : mutated(random, envelope, random.between(1, 3));
  const text = JSON.stringify(spoilt) ?? "";
  return random.chance(75) ? text : spoiltText(random, text);
}

/** The value with so many of its parts replaced, removed, added or exchanged. */
export function mutated(random: Random, value: unknown, times: number): unknown {
  let result = structuredClone(value);
  for (let time = 0; time < times; time++) result = mutatedOnce(random, result);
  return result;
}

function mutatedOnce(random: Random, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return random.pick(HOSTILE);
  const object = value as Record<string, unknown>;
  const keys = Object.keys(object);
  if (keys.length === 0 || random.chance(10)) {
    object[random.pick(["extra", "__proto__", "constructor", "0", "argv"])] = random.pick(HOSTILE);
    return object;
  }
  const key = random.pick(keys);
  // A command keeps its text: what runs is never drawn.
  if (key === "shell" || key === "argv") return object;
  if (random.chance(15)) delete object[key];
  else if (random.chance(60)) object[key] = mutatedOnce(random, object[key]);
  else object[key] = random.pick(HOSTILE);
  return object;
}

function spoiltText(random: Random, text: string): string {
  const at = random.between(0, text.length);
  switch (random.between(0, 6)) {
    case 0:
      return text.slice(0, at);
    case 1:
      return text.replace(/"(\w+)":/, (member, name) => `"${name}":1,${member}`);
    case 2:
      return `\ufeff${text}`;
    case 3:
      return `${"[".repeat(random.between(50, 100_000))}${text}`;
    case 4:
      return text.replace(/:\d+/, ":1e999");
    case 5:
      return text.replace(/":"/, '":"\\ud800');
    default:
      return `${text.slice(0, at)}${String.fromCharCode(random.between(0, 0xffff))}${text.slice(at)}`;
  }
}

/** The text as an envelope: its length right, or not. */
export function envelopeOf(random: Random, text: string): Buffer {
  const body = Buffer.from(text);
  const head = Buffer.alloc(4);
  const wrong = [0, 1, body.length - 1, body.length + 1, limits.envelopeBytes + 1, 0xffff_ffff].filter((n) => n >= 0);
  head.writeUInt32BE(random.chance(90) ? body.length : random.pick(wrong));
  return Buffer.concat(random.chance(95) ? [head, body] : [head, body, head, body]);
}

/** What comes over a raw carriage: control and data, as the protocol has it, and not. */
export function chunkOf(random: Random): Buffer {
  const offset = random.pick([0, 1, 100, 1e9, -1, 1e300]);
  const control: readonly unknown[] = [
    { type: "eof" },
    { type: "signal", name: random.pick(["TERM", "HUP", "KILL", "RTMIN+1", "\u0000"]) },
    { type: "cancel", by: random.pick(["user", "run", "nobody"]) },
    { type: "finish", code: random.pick([0, 255, 256, -1]) },
    { type: "ack", offset },
    { type: "exit", code: 0 },
    { type: "started", at: offset, attemptId: newAttemptId() },
    { type: "mark", at: offset },
    { type: "dropped", stdout: offset, stderr: 0, reason: "\u001b[2J" },
    { type: "note", at: 1, from: "x", text: "y".repeat(random.between(0, 100_000)) },
    random.pick(HOSTILE),
  ];
  const isControl = random.chance(50);
  const body = isControl
    ? Buffer.from(JSON.stringify(random.pick(control)) ?? "")
    : Buffer.alloc(random.pick([0, 1, 5, 4_096, 100_000, 1_000_000]), 65);
  const head = Buffer.alloc(5);
  head[0] = isControl ? 3 : random.pick([0, 0, 0, 0, 1, 2, 4, 255]);
  head.writeUInt32BE(
    random.chance(92) ? body.length : random.pick([0, body.length + 1, 70_000, 2 ** 25, 0xffff_ffff]),
    1,
  );
  return Buffer.concat([head, body]);
}

/** The bytes in pieces, cut anywhere; many of a byte each where they are few. */
export function* pieces(random: Random, bytes: Buffer): Generator<Buffer> {
  const most = random.pick([1, 7, 1_000, bytes.length, bytes.length]);
  for (let at = 0; at < bytes.length; ) {
    const length = bytes.length - at > 200_000 ? bytes.length : random.between(1, Math.max(1, most, bytes.length >> 7));
    yield bytes.subarray(at, at + length);
    at += length;
  }
}

export function garbage(random: Random): Buffer {
  const bytes = Buffer.alloc(random.pick([1, 10, 100, 1_000, 5_000, 100_000]));
  if (random.chance(70)) for (let at = 0; at < Math.min(bytes.length, 5_000); at++) bytes[at] = random.bits() & 255;
  else bytes.fill(random.pick([0, 0x80, 0xff]));
  const begin = random.pick(["", "", "\u0013/multistream/1.0.0\n", "\u0013/multistream/1.0.0\n\u0007/noise\n"]);
  return Buffer.concat([Buffer.from(begin), bytes]);
}

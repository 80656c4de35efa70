// The runners of a run: those this coordinator trusts, reached over libp2p, or one embedded in this process when it
// knows none. Nothing above tells them apart.
import { join } from "node:path";
import type { ByteChannel } from "../protocol/channel.ts";
import { asSortieError, SortieError } from "../protocol/errors.ts";
import { homeOf } from "../protocol/home.ts";
import { limits } from "../protocol/limits.ts";
import { callJson } from "../protocol/make-call.ts";
import type { JobRequest, JobSignature, RunnerInfo } from "../protocol/messages.ts";
import { openTrust, type Pin, type Trust } from "../protocol/trust.ts";
import { answerWithin } from "./answer-within.ts";
import { openDialled } from "./dialled.ts";
import type { Joined } from "./joined.ts";
import { listenAddressIn } from "./listen-address.ts";
import { describeSelector, fits, type Selector } from "./selectors.ts";
import type { Signer } from "./signer.ts";

/** What the runner of a sandboxed recipe on this machine may do: items of each kind of grant, or all of it. */
export type EmbeddedGrants = Readonly<Record<string, true | readonly string[]>>;

/** A runner that can be called. */
export interface RunnerLink {
  /** Its peer ID, or `embedded`. */
  readonly id: string;
  readonly name: string;
  /** A channel for one call; over a connection that is there, or a new one. Rejects with RUNNER_UNREACHABLE or UNTRUSTED. */
  open(): Promise<ByteChannel>;
  /** Signs a job for this runner; absent for one in this process. */
  sign?(request: JobRequest): Promise<JobSignature>;
}

export interface KnownRunner extends RunnerLink {
  readonly info: RunnerInfo;
  /** Milliseconds that asking for the info took. */
  readonly roundTripMs: number;
}

export type Reached =
  | { readonly pin: Pin; readonly runner: KnownRunner }
  | { readonly pin: Pin; readonly error: SortieError };

export interface Fleet {
  readonly trust: Trust;
  link(pin: Pin): RunnerLink;
  /** Asks every trusted runner, or those of them with such names, for its info, all at once. */
  reachAll(names?: ReadonlySet<string>): Promise<Reached[]>;
  /** The runner in this process: everything is allowed, it is one's own machine; or what is granted, by kinds. */
  embedded(slots: number, granted?: EmbeddedGrants): Promise<KnownRunner>;
  /** KILL to every process of the embedded runner, now: for the second Ctrl-C. */
  killEmbedded(): void;
  close(): Promise<void>;
}

/**
 * Opens nothing by itself: a node is started by the first link that is used. `signWith`: a file with the key that jobs are signed
 * with, in place of the coordinator's own.
 */
export function openFleet(
  folder: string = homeOf("coordinator"),
  silenceMs: number = limits.silenceMs,
  signWith?: string,
): Fleet {
  let signer: Promise<Signer> | undefined;
  const trust = openTrust(folder);
  const dialled = openDialled(folder, trust, silenceMs);
  let joined: Promise<Joined> | undefined;
  let closeEmbedded: (() => Promise<void>) | undefined;
  let killEmbedded = (): void => {};

  /** One that has no address here dials by itself. */
  async function open(pin: Pin): Promise<ByteChannel> {
    const { peer, name, addresses } = pin;
    if (addresses.length > 0) return dialled.open(pin);
    if (listenAddressIn(folder).read() === null)
      throw new SortieError("RUNNER_UNREACHABLE", `No address of ${name} is known.`);
    joined ??= import("./joined.ts").then(({ openJoined }) => openJoined({ folder, silenceMs }));
    return (await joined).open(peer);
  }

  function link(pin: Pin): RunnerLink {
    return {
      id: pin.peer,
      name: pin.name,
      async sign(request) {
        signer ??= import("./signer.ts").then(({ openSigner }) => openSigner(folder, signWith));
        return (await signer)(trust.current(pin.peer)?.peer ?? pin.peer, request);
      },
      async open() {
        // It may have another key by now.
        const current = trust.current(pin.peer);
        if (!current) throw new SortieError("NOT_FOUND", `The runner ${pin.name} is not trusted any more.`);
        try {
          return await open(current);
        } catch (error) {
          const { code, message, hint } = asSortieError(error);
          throw new SortieError(code, `${pin.name}: ${message}`, { hint, cause: error });
        }
      },
    };
  }

  async function reach(pin: Pin, again = pin.addresses.length === 0): Promise<Reached> {
    try {
      const runner = link(pin);
      const channel = await runner.open();
      const asked = performance.now();
      const info = await answerWithin(channel, limits.answerMs, callJson(channel, "/runner/info", {}));
      // Its name here is the pin's: what a peer calls itself may change, or be another one's.
      return { pin, runner: { ...runner, info: { ...info, name: pin.name }, roundTripMs: performance.now() - asked } };
    } catch (error) {
      const failure = asSortieError(error);
      // The process that a joined runner is reached through may end in the middle; this one listens then.
      if (again && failure.code === "CONNECTION_LOST") return reach(pin, false);
      return { pin, error: failure };
    }
  }

  return {
    trust,
    link,
    reachAll: (names) =>
      Promise.all(
        trust
          .list()
          .filter(({ name }) => names?.has(name) ?? true)
          .map((pin) => reach(pin)),
      ),
    async embedded(slots, granted) {
      const [{ embedRunner }, { memoryChannelPair }, { serveCall }] = await Promise.all([
        import("../runner/embedded.ts"),
        import("../protocol/memory-channel.ts"),
        import("../protocol/serve-call.ts"),
      ]);
      const runner = await embedRunner(join(folder, "embedded"), slots, granted && { allow: granted, deny: {} });
      closeEmbedded = () => runner.close();
      killEmbedded = () => runner.kill();
      return {
        id: "embedded",
        name: "local",
        info: runner.info(),
        roundTripMs: 0,
        async open() {
          const [ours, theirs] = memoryChannelPair();
          void serveCall(theirs, runner.handlers, { peer: "embedded", name: "this process" });
          return ours;
        },
      };
    },
    killEmbedded: () => killEmbedded(),
    async close() {
      await closeEmbedded?.();
      await (await joined)?.close();
      await dialled.close();
    },
  };
}

/**
 * The one runner a person means: a name, a prefix of its peer ID, or labels (`os=linux,gpu=1`) that fit one alone.
 * Only labels need to ask the runners.
 */
export async function findRunner(fleet: Fleet, text: string): Promise<RunnerLink> {
  if (!text.includes("=")) return fleet.link(fleet.trust.find(text));
  const selector = parseSelector(text);
  const reached = await fleet.reachAll();
  const fitting = reached.flatMap((one) => ("runner" in one && fits(selector, one.runner.info) ? [one.runner] : []));
  if (fitting.length === 1 && fitting[0]) return fitting[0];
  if (fitting.length > 1)
    throw new SortieError(
      "AMBIGUOUS",
      `${describeSelector(selector)} fits ${fitting.map((runner) => runner.name).join(", ")}.`,
    );
  const down = reached.flatMap((one) => ("error" in one ? [one.pin.name] : []));
  throw new SortieError(
    "NOT_FOUND",
    `No runner fits ${describeSelector(selector)}${down.length > 0 ? `; not reached: ${down.join(", ")}` : ""}.`,
  );
}

/** `os=linux,arch=x64` */
export function parseSelector(text: string): Selector {
  const labels: Record<string, string> = {};
  let runner: string | undefined;
  for (const pair of text.split(",")) {
    const [name = "", value] = pair.split("=", 2);
    if (value === undefined || name === "")
      throw new SortieError("USAGE", `${JSON.stringify(pair)} is not LABEL=VALUE.`);
    if (name === "runner") runner = value;
    else labels[name] = value;
  }
  return { labels, ...(runner === undefined ? {} : { runner }) };
}

// A runner that dials: for one behind a NAT, which its coordinators cannot reach. It proves an invite once, and from then on keeps a
// connection to each coordinator whose addresses it has, whenever that listens. Calls come in over it as over any other.
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";
import { isOtherPeer } from "../protocol/dial-error.ts";
import { asSortieError } from "../protocol/errors.ts";
import { parseAddress, parseInvite } from "../protocol/invite.ts";
import { limits } from "../protocol/limits.ts";
import type { Node } from "../protocol/node.ts";
import { follow, introduce, waitingPins } from "../protocol/succession.ts";
import { ownerOf, type Pin, type Trust } from "../protocol/trust.ts";
import { issuerOf, parseGiven, proveGiven } from "../protocol/use-invite.ts";

interface JoinOptions {
  readonly node: Node;
  readonly trust: Trust;
  readonly log: (line: string) => void;
}

interface KeepOptions extends JoinOptions {
  /** The runner's own. */
  readonly folder: string;
}

/**
 * Proves an invite, or a code, to its coordinator, and pins that with its addresses. A runner that has done so before goes on
 * where that fails: the same command line starts it every time, and an invite is for once.
 */
export async function join(
  text: string,
  code: string | undefined,
  name: string,
  { node, trust, log, onPaired }: JoinOptions & { readonly onPaired?: (pin: Pin) => void },
): Promise<void> {
  // Whose it is can be read after its time as well.
  const { peer } = code === undefined ? parseInvite(text, 0) : parseAddress(text);
  try {
    const given = parseGiven(text, code);
    const issuer = await issuerOf(given, node);
    const paired = await proveGiven(node, name, given, issuer);
    const pin = trust.pin(issuer.peer, paired.name, issuer.addresses);
    log(`joined ${pin.name} (${pin.peer})`);
    onPaired?.(pin);
  } catch (error) {
    // It may have another key than the one that the invite names.
    const known = trust.current(peer ?? "");
    if (!known || !isDialled(known)) throw error;
    log(`${known.name} was joined before; this time: ${asSortieError(error).message}`);
  }
}

/** Whether this runner dials the coordinator. */
export const isDialled = ({ addresses }: Pin): boolean => addresses.length > 0;

/**
 * Keeps a connection to each coordinator that has addresses in the trust, also to one that gets them later, until the function
 * it gives is called. A coordinator that is removed is dialled no more.
 */
export function keepJoined(options: KeepOptions): () => void {
  const stopped = new AbortController();
  /** By the first identity of each: it may go on under another one. */
  const kept = new Set<string>();
  const look = (): void => {
    let pins: readonly Pin[] = [];
    try {
      pins = options.trust.list().filter(isDialled);
    } catch {
      // A damaged file names nobody new; those that are kept say what is wrong with it.
    }
    for (const pin of pins.filter((pin) => !kept.has(ownerOf(pin)))) {
      kept.add(ownerOf(pin));
      void keep(pin, options, stopped.signal).finally(() => kept.delete(ownerOf(pin)));
    }
  };
  look();
  const looking = setInterval(look, limits.joinLookMs).unref();
  return () => {
    clearInterval(looking);
    stopped.abort();
  };
}

async function keep(first: Pin, { folder, node, trust, log }: KeepOptions, stopped: AbortSignal): Promise<void> {
  let told = "";
  const tell = (line: string): void => {
    if (line !== told) log(line);
    told = line;
  };
  let pause: number = limits.reconnectFirstMs;
  /** Connections in a row that ended at once, without a call. */
  let unsteady = 0;
  for (;;) {
    try {
      const pin = trust.current(first.peer);
      if (!pin || !isDialled(pin)) return;
      // It takes nodes of their own to tell of a new key: none is made while nobody listens, so that the next try is soon.
      const isToBeTold = waitingPins(folder, trust).some(({ peer }) => peer === pin.peer);
      if (isToBeTold && (await isSomebodyAt(pin.addresses))) await introduce(folder, trust, pin);
      const { ended } = await node.connect(pin.peer, pin.addresses, limits.joinDialMs);
      const steady = setTimeout(() => {
        unsteady = 0;
        pause = limits.reconnectFirstMs;
        tell(`connected to ${pin.name}`);
      }, limits.joinSteadyMs);
      unsteady++;
      if (await ended) unsteady = 0;
      clearTimeout(steady);
      // Its commands come and go, and call; only one that lets nothing happen has something against this runner.
      if (unsteady >= limits.joinUnsteady)
        tell(`${pin.name} ends each connection at once: does it still trust this runner?`);
    } catch (error) {
      unsteady = 0;
      const pin = trust.current(first.peer);
      if (pin && isOtherPeer(error) && (await follow(node, trust, pin))) continue;
      // Most often nobody listens there, since no command runs there now.
      const { code, message } = asSortieError(error);
      tell(code === "RUNNER_UNREACHABLE" ? `not connected to ${first.name}: ${message}` : message);
    }
    if (stopped.aborted) return;
    await delay(pause * (0.5 + Math.random() / 2), undefined, { signal: stopped }).catch(() => {});
    if (stopped.aborted) return;
    pause = Math.min(pause * 2, limits.joinMostMs);
  }
}

/** Whether a connection is taken at one of the addresses; an address of another kind may have somebody. */
function isSomebodyAt(addresses: readonly string[]): Promise<boolean> {
  const tries = addresses.map(async (address) => {
    const [, host, port] = /^\/(?:ip[46]|dns[46]?)\/([^/]+)\/tcp\/(\d+)/.exec(address) ?? [];
    if (host === undefined) return;
    const socket = connect({ host, port: Number(port) }).on("error", () => {});
    try {
      await once(socket, "connect", { signal: AbortSignal.timeout(limits.joinDialMs) });
    } finally {
      socket.destroy();
    }
  });
  return Promise.any(tries).then(
    () => true,
    () => false,
  );
}

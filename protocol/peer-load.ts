// What peers cost this process: calls a second, calls that are open, and bytes that wait in memory for a reader or for
// the network. node.ts keeps one for all its peers, so that one of them, by however many connections, takes from nobody
// else. Over a limit a call waits, or ends with TOO_MANY; those of other peers do not notice.
import { SortieError } from "./errors.ts";

/** One channel's share of what its peer makes this process hold. */
export interface Holding {
  /** More bytes, or fewer. */
  add(bytes: number): void;
  /** Its bytes are gone. Idempotent. */
  end(): void;
}

export interface PeerLoad {
  /** For a channel of this peer. `cut` ends it, where it holds the most of a peer that holds too much. */
  hold(cut: (reason: SortieError) => void): Holding;
  /** A call begins: gives the milliseconds that it has to wait first. Throws TOO_MANY for one more than may be open. */
  begin(): number;
  /** It is over. */
  end(): void;
  /** What its request was long: a long one costs as many short ones as take the same time to read. */
  charge(bytes: number): void;
}

export interface LoadLimits {
  readonly connectionsPerPeer: number;
  readonly connectionUnsentBytes: number;
  readonly streamsPerPeer: number;
  readonly callsPerPeer: number;
  readonly callsBurst: number;
  readonly callsPerSecond: number;
  readonly heldPerPeerBytes: number;
  readonly heldBytes: number;
}

/** A request of so many bytes takes as long to read as one call takes in all. */
const BYTES_A_CALL = 4 * 1024;

interface Held {
  bytes: number;
  readonly cut: (reason: SortieError) => void;
}

class Load implements PeerLoad {
  readonly peer: string;
  readonly held = new Set<Held>();
  bytes = 0;
  open = 0;
  readonly #all: Loads;
  readonly #limits: LoadLimits;
  /** A token bucket, which may owe: calls that wait have taken theirs. */
  #tokens: number;
  #filledAt = performance.now();

  constructor(peer: string, all: Loads, limits: LoadLimits) {
    this.peer = peer;
    this.#all = all;
    this.#limits = limits;
    this.#tokens = limits.callsBurst;
  }

  hold(cut: (reason: SortieError) => void): Holding {
    const held: Held = { bytes: 0, cut };
    let over = false;
    this.held.add(held);
    return {
      add: (bytes) => {
        if (over) return;
        held.bytes += bytes;
        this.bytes += bytes;
        this.#all.added(this, bytes);
      },
      end: () => {
        if (over) return;
        over = true;
        this.held.delete(held);
        this.bytes -= held.bytes;
        this.#all.added(this, -held.bytes);
      },
    };
  }

  begin(): number {
    if (this.open >= this.#limits.callsPerPeer)
      throw new SortieError("TOO_MANY", `${this.open} calls of this peer are open, and no more are taken.`);
    this.open++;
    this.#fill();
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : Math.ceil((-this.#tokens / this.#limits.callsPerSecond) * 1_000);
  }

  end(): void {
    this.open--;
    this.#all.added(this, 0);
  }

  charge(bytes: number): void {
    this.#tokens -= bytes / BYTES_A_CALL;
  }

  /** Whether it can be forgotten: nothing is open, and what it would be allowed is all there again. */
  get isIdle(): boolean {
    this.#fill();
    return this.open === 0 && this.held.size === 0 && this.#tokens >= this.#limits.callsBurst;
  }

  #fill(): void {
    const now = performance.now();
    const { callsBurst, callsPerSecond } = this.#limits;
    this.#tokens = Math.min(callsBurst, this.#tokens + ((now - this.#filledAt) / 1_000) * callsPerSecond);
    this.#filledAt = now;
  }
}

/** The loads of all peers of one node. */
export class Loads {
  readonly #limits: LoadLimits;
  readonly #loads = new Map<string, Load>();
  #bytes = 0;

  constructor(limits: LoadLimits) {
    this.#limits = limits;
  }

  of(peer: string): PeerLoad {
    const known = this.#loads.get(peer);
    if (known) return known;
    for (const [other, load] of this.#loads) if (load.isIdle) this.#loads.delete(other);
    const load = new Load(peer, this, this.#limits);
    this.#loads.set(peer, load);
    return load;
  }

  /** Called by a load: ends the channels that hold the most until what is left is within the limits. */
  added(load: Load, bytes: number): void {
    this.#bytes += bytes;
    if (bytes <= 0) return;
    const { heldPerPeerBytes, heldBytes } = this.#limits;
    if (load.bytes > heldPerPeerBytes) cutMost(load, heldPerPeerBytes);
    else if (this.#bytes > heldBytes) cutMost(most([...this.#loads.values()]), heldBytes);
  }
}

/** Its end takes what it holds from the counts, and may be told of while more comes: one at a time is enough. */
function cutMost(load: Load, limit: number): void {
  const MiB = Math.round(limit / 1024 / 1024);
  most([...load.held]).cut(
    new SortieError("TOO_MANY", `More than ${MiB} MiB of this peer's calls wait in memory; this one held the most.`),
  );
}

const most = <T extends { readonly bytes: number }>(all: readonly T[]): T =>
  all.reduce((one, other) => (other.bytes > one.bytes ? other : one));

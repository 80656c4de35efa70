// Gives each peer its turn at this process. What is dear to read (frames of twelve bytes, streams that are reset as soon as they are
// opened) is read for some milliseconds, over all connections of its peer; the rest waits until everybody else had a turn.
// Nothing is dropped, and who is alone waits for nobody. gater.ts begins it below everything else of a connection, and
// libp2p-node.ts puts it around the muxer: one message of Noise may hold thousands of frames.
import type { MessageStream, StreamMuxer } from "@libp2p/interface";
import { Uint8ArrayList } from "uint8arraylist";
import { limits } from "./limits.ts";
import type { MuxedConnection } from "./muxer.ts";

/** What of a libp2p TCP connection is used here, and by the gate. */
export interface RawConnection {
  readonly readStatus: string;
  onData: (bytes: Bytes) => void;
  sendPause(): void;
  sendResume(): void;
}

/** Undefined for another libp2p than the one that this was written for. */
export function rawOf(connection: MessageStream): RawConnection | undefined {
  const { onData, sendPause, sendResume } = connection as unknown as Partial<RawConnection>;
  return onData && sendPause && sendResume ? (connection as unknown as RawConnection) : undefined;
}

/** What of a connection that Noise encrypts, and of its muxer. */
interface Encrypted {
  readonly stream?: MessageStream;
}
interface Muxer {
  onData?: (bytes: Bytes) => void;
}

type Bytes = Uint8Array | Uint8ArrayList;

export interface Turns {
  /** Before anything is read; until it belongs to a peer it has turns of its own. */
  begin(connection: MessageStream, raw: RawConnection): void;
  /** From now on its turns are those of the peer. */
  belongs(connection: MessageStream, peer: string): void;
  /** The same for what was encrypted. Throws for another libp2p. */
  around(muxer: StreamMuxer, connection: MuxedConnection): void;
}

export function openTurns(): Turns {
  const inputs = new WeakMap<MessageStream, Input>();
  const peers = new Map<string, { readonly turn: Turn; connections: number }>();
  return {
    begin(connection, raw) {
      const { onData } = raw;
      const input = new Input(
        (bytes) => onData.call(raw, bytes),
        (isPaused) => {
          if (isPaused) raw.sendPause();
          // Above it somebody may want no more, and asks again.
          else if (raw.readStatus === "readable") raw.sendResume();
        },
      );
      inputs.set(connection, input);
      raw.onData = (bytes) => input.push("raw", bytes);
    },
    belongs(connection, peer) {
      const input = inputs.get(connection);
      if (!input) return;
      const known = peers.get(peer) ?? { turn: new Turn(), connections: 0 };
      peers.set(peer, known);
      known.connections++;
      input.turn = known.turn;
      connection.addEventListener("close", () => {
        known.connections--;
        if (known.connections === 0) peers.delete(peer);
      });
    },
    around(muxer, connection) {
      const { stream } = connection as unknown as Encrypted;
      const input = stream && inputs.get(stream);
      const inner = muxer as unknown as Muxer;
      const { onData } = inner;
      if (!input || !onData) throw new Error("What the peer sends has no turns.");
      input.readsFrames((bytes) => {
        try {
          onData.call(muxer, bytes);
        } catch (error) {
          // As the muxer's own caller does.
          muxer.abort(error as Error);
          stream.abort(error as Error);
        }
      });
      inner.onData = (bytes) => input.push("frames", bytes);
    },
  };
}

/** The time of one peer, until the event loop has been with everybody. */
class Turn {
  #usedMs = 0;
  /** What is read may make more work than reading it: a turn is shorter where the loop comes round late after it. */
  #mostMs: number = limits.turnMs;
  #beganAt: number | undefined;
  readonly #waiting: Input[] = [];

  get isOver(): boolean {
    return this.#usedMs >= this.#mostMs;
  }

  use(ms: number): void {
    this.#begin();
    this.#usedMs += ms;
  }

  wait(input: Input): void {
    this.#begin();
    this.#waiting.push(input);
  }

  #begin(): void {
    if (this.#beganAt !== undefined) return;
    this.#beganAt = performance.now();
    setImmediate(() => this.#next());
  }

  #next(): void {
    const ms = performance.now() - (this.#beganAt ?? 0);
    if (!this.isOver) this.#mostMs = Math.min(limits.turnMs, this.#mostMs * 1.1);
    else if (ms > 4 * limits.turnMs) this.#mostMs = Math.max(limits.turnMs / 10, this.#mostMs / 2);
    this.#beganAt = undefined;
    this.#usedMs = 0;
    // Those that this leaves out are the first next time.
    const waiting = this.#waiting.splice(0);
    while (waiting.length > 0 && !this.isOver) waiting.shift()?.go();
    this.#waiting.unshift(...waiting);
    if (this.#waiting.length > 0) this.#begin();
  }
}

/** What comes over one connection: as it is on the wire, and in the middle of that, when Noise has a message whole, its frames. */
class Input {
  turn = new Turn();
  readonly #raw: Held;
  #frames: Held | undefined;
  readonly #pause: (isPaused: boolean) => void;
  #isPaused = false;
  #isReading = false;
  /** Of what is being read on the wire, what its frames took. */
  #framesMs = 0;

  constructor(read: (bytes: Bytes) => void, pause: (isPaused: boolean) => void) {
    this.#raw = new Held(read);
    this.#pause = pause;
  }

  readsFrames(read: (bytes: Bytes) => void): void {
    this.#frames = new Held(read);
  }

  push(kind: "raw" | "frames", bytes: Bytes): void {
    const held = kind === "raw" ? this.#raw : (this.#frames as Held);
    const isInside = this.#isReading && kind === "frames";
    if (held.isForNow(bytes) && !this.turn.isOver && (isInside || !this.#isPaused)) return this.#readNow(held, bytes);
    held.bytes.append(bytes);
    if (isInside) this.#readFrames();
    else if (!this.#isPaused) this.go();
    // Somebody above has asked for more.
    else if (kind === "raw") this.#pause(true);
  }

  /** As most often: nothing is held, and it is not much. */
  #readNow(held: Held, bytes: Bytes): void {
    if (held === this.#frames) return this.#count(held.read(bytes));
    this.#isReading = true;
    this.#readRaw(() => held.read(bytes));
    this.#isReading = false;
    if (this.#frames?.bytes.length) this.go();
  }

  #readRaw(read: () => number): void {
    this.#framesMs = 0;
    const ms = read();
    this.turn.use(ms - this.#framesMs);
  }

  #count(framesMs: number): void {
    this.#framesMs += framesMs;
    this.turn.use(framesMs);
  }

  /** Reads what is held, as long as the turn lasts. */
  go(): void {
    if (this.#isReading) return;
    this.#isReading = true;
    let isDone = this.#readFrames();
    while (isDone && this.#raw.bytes.length > 0 && !this.turn.isOver) {
      this.#readRaw(() => this.#raw.readSome());
      isDone = (this.#frames?.bytes.length ?? 0) === 0;
    }
    this.#isReading = false;
    if (isDone && this.#raw.bytes.length === 0) {
      if (this.#isPaused) this.#pause(false);
      this.#isPaused = false;
      return;
    }
    if (!this.#isPaused) this.#pause(true);
    this.#isPaused = true;
    this.turn.wait(this);
  }

  /** False where some are left. */
  #readFrames(): boolean {
    const frames = this.#frames;
    if (!frames) return true;
    while (frames.bytes.length > 0) {
      if (this.turn.isOver) return false;
      this.#count(frames.readSome());
    }
    return true;
  }
}

/** Bytes that are read without a look at the time: at first, and where they took long. */
const FIRST_BYTES = 4 * 1024;
const LEAST_BYTES = 256;
const MOST_BYTES = 1024 * 1024;
const LONG_MS = limits.turnMs / 2;

class Held {
  readonly bytes = new Uint8ArrayList();
  readonly #read: (bytes: Bytes) => void;
  #atOnce = FIRST_BYTES;

  constructor(read: (bytes: Bytes) => void) {
    this.#read = read;
  }

  isForNow(bytes: Bytes): boolean {
    return this.bytes.length === 0 && bytes.length <= this.#atOnce;
  }

  /** Reads some of what is held. Gives the milliseconds that it took. */
  readSome(): number {
    const piece = this.bytes.sublist(0, Math.min(this.#atOnce, this.bytes.length));
    this.bytes.consume(piece.length);
    return this.read(piece);
  }

  read(bytes: Bytes): number {
    const since = performance.now();
    this.#read(bytes);
    const ms = performance.now() - since;
    if (ms > LONG_MS) this.#atOnce = Math.max(LEAST_BYTES, this.#atOnce / 2);
    // A little that went fast says nothing about much.
    else if (bytes.length >= this.#atOnce) this.#atOnce = Math.min(MOST_BYTES, this.#atOnce * 2);
    return ms;
  }
}

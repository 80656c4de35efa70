// Messages between a coordinator and the process of a sandboxed recipe, on a pipe that only the two have: `u32be` length, then
// JSON. Node's own channel for that has no limit to a message, so whoever is on its other side could fill this side's memory.
import type { Duplex } from "node:stream";
import { SortieError } from "../../protocol/errors.ts";

const LENGTH_BYTES = 4;

export interface WireOptions {
  /** The longest message that is taken. */
  readonly mostBytes: number;
  /** Of the messages in one second; the rest waits in the pipe. Default: no limit. */
  readonly mostASecond?: number;
}

export interface Wire {
  /** Whoever sends much waits for room() first: what the other side does not read stays in memory. */
  send(message: object): void;
  /** Bytes that the other side has not read. */
  readonly unread: number;
  /** Resolves once it has read most of that, or there is no pipe any more. */
  room(): Promise<void>;
  /** Calls `take` with each message and its length, until the other side ends. Rejects with SANDBOX_FAILED, and with what `take` throws. */
  read(take: (message: unknown, bytes: number) => void): Promise<void>;
}

export function wireOn(pipe: Duplex, { mostBytes, mostASecond = Number.POSITIVE_INFINITY }: WireOptions): Wire {
  let second = 0;
  let inSecond = 0;
  let drained: Promise<void> | undefined;

  /** Resolves once another message may be looked at. */
  function turn(): Promise<void> | undefined {
    const now = performance.now();
    if (now - second >= 1_000) {
      second = now;
      inSecond = 0;
    }
    if (++inSecond <= mostASecond) return undefined;
    return new Promise((resolve) => setTimeout(resolve, second + 1_000 - now));
  }

  return {
    send(message) {
      const json = Buffer.from(JSON.stringify(message));
      const head = Buffer.allocUnsafe(LENGTH_BYTES);
      head.writeUInt32BE(json.length);
      pipe.cork();
      pipe.write(head);
      pipe.write(json);
      pipe.uncork();
    },
    get unread() {
      return pipe.writableLength;
    },
    async room() {
      // Of those that wait, the first that goes on may fill it again.
      while (pipe.writableNeedDrain && !pipe.destroyed) {
        drained ??= new Promise<void>((resolve) => {
          for (const event of ["drain", "close"]) pipe.once(event, resolve);
        }).finally(() => {
          drained = undefined;
        });
        await drained;
      }
    },
    async read(take) {
      let pieces: Buffer[] = [];
      let bytes = 0;
      let wanted: number | undefined;
      for await (const piece of pipe as AsyncIterable<Buffer>) {
        pieces.push(piece);
        bytes += piece.length;
        while (bytes >= (wanted ?? LENGTH_BYTES)) {
          const all = pieces.length === 1 ? (pieces[0] as Buffer) : Buffer.concat(pieces);
          const length = wanted ?? LENGTH_BYTES;
          const rest = all.subarray(length);
          pieces = rest.length > 0 ? [rest] : [];
          bytes = rest.length;
          if (wanted === undefined) {
            wanted = all.readUInt32BE();
            if (wanted > mostBytes)
              throw broken(`a message of ${wanted} bytes, and ${mostBytes} is the most that is taken`);
            continue;
          }
          wanted = undefined;
          await turn();
          take(parsed(all.subarray(0, length)), length);
        }
      }
      if (bytes > 0) throw broken("half a message");
    },
  };
}

function parsed(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch {
    throw broken("a message that is not JSON");
  }
}

const broken = (what: string): SortieError =>
  new SortieError("SANDBOX_FAILED", `The sandboxed recipe's process sent ${what}.`);

// The two outputs of a command's channel as streams of their own: what a login shell's profile wrote before the command's
// first line of ours is dropped. Both share one window of the protocol, so a reader that stops stops both.
import { Readable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { limits } from "../../../../protocol/limits.ts";
import { oneLine } from "../../../../protocol/text.ts";
import { READY } from "./script.ts";

export interface Outputs {
  readonly stdout: Readable;
  readonly stderr: Readable;
  /** What stands behind the nonce in each output's first line of ours; empty where the output ended without. */
  readonly told: { readonly stdout: Promise<string>; readonly stderr: Promise<string> };
  /** The shell is there and reads; false where the output ended without. */
  readonly ready: Promise<boolean>;
  /** Both were read to their ends. */
  readonly ended: Promise<true>;
  /** Bytes that came so far. */
  received(): number;
  /** Whether something that came waits for its reader. */
  waiting(): boolean;
  /** What there was instead of the line of ours, for a message. */
  noise(): string;
  /** Nothing more comes. */
  finish(): void;
}

interface Output {
  readonly stream: Readable;
  readonly ready: Promise<boolean>;
  readonly told: Promise<string>;
  take(bytes: Buffer): void;
  finish(): void;
  noise(): string;
}

export function outputsOf(channel: ClientChannel, nonce: string): Outputs {
  const full = new Set<object>();
  let received = 0;
  const sources = [channel, channel.stderr as unknown as Readable];
  const flow = {
    hold(who: object): void {
      full.add(who);
      for (const source of sources) source.pause();
    },
    free(who: object): void {
      if (full.delete(who) && full.size === 0) for (const source of sources) source.resume();
    },
  };
  const [stdout, stderr] = sources.map((source) => {
    const output = outputAfter(nonce, flow);
    source.on("data", (bytes: Buffer) => {
      received += bytes.length;
      output.take(bytes);
    });
    source.once("end", () => output.finish());
    return output;
  }) as [Output, Output];
  const closed = (stream: Readable): Promise<void> => new Promise((resolve) => stream.once("close", resolve));
  return {
    ready: stdout.ready,
    stdout: stdout.stream,
    stderr: stderr.stream,
    told: { stdout: stdout.told, stderr: stderr.told },
    ended: Promise.all([closed(stdout.stream), closed(stderr.stream)]).then(() => true as const),
    received: () => received,
    waiting: () => [stdout, stderr].some(({ stream }) => !stream.closed && stream.readableLength > 0),
    noise: () => oneLine(`${stderr.noise()} ${stdout.noise()}`.trim()).slice(0, 200),
    finish() {
      stdout.finish();
      stderr.finish();
    },
  };
}

function outputAfter(nonce: string, flow: { hold(who: object): void; free(who: object): void }): Output {
  const told = Promise.withResolvers<string>();
  const ready = Promise.withResolvers<boolean>();
  let before: Buffer | undefined = Buffer.alloc(0);
  let over = false;
  const who = {};
  const stream = new Readable({
    highWaterMark: limits.sshOutputBytes,
    read: () => flow.free(who),
    // Whoever throws an output away must not stop the other one.
    destroy(error, done) {
      over = true;
      flow.free(who);
      done(error);
    },
  });
  stream.on("error", () => {});
  const push = (bytes: Buffer): void => {
    if (!over && bytes.length > 0 && !stream.push(bytes)) flow.hold(who);
  };
  return {
    stream,
    ready: ready.promise,
    told: told.promise,
    noise: () => before?.toString("utf8").replace(READY, "") ?? "",
    take(bytes) {
      if (before === undefined) return push(bytes);
      before = Buffer.concat([before, bytes]);
      if (before.includes(READY)) ready.resolve(true);
      const at = before.indexOf(`${nonce} `);
      const end = at < 0 ? -1 : before.indexOf("\n", at);
      if (end < 0) {
        before = before.subarray(at < 0 ? -limits.sshNoiseBytes : at);
        return;
      }
      const rest = before.subarray(end + 1);
      told.resolve(before.toString("utf8", at + nonce.length + 1, end));
      before = undefined;
      push(rest);
    },
    finish() {
      ready.resolve(false);
      told.resolve("");
      if (over) return;
      over = true;
      stream.push(null);
    },
  };
}

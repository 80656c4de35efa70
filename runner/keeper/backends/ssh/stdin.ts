// A command's stdin: the writing side of its channel, for a command that may leave at any time. command.ts gives it to the job.
import { Writable } from "node:stream";
import type { ClientChannel } from "ssh2";
import type { ChannelEnd } from "./channel-end.ts";

/** Errors never leave it, and a command that is gone takes nothing and holds nobody up. */
export function stdinOf(channel: ClientChannel, end: ChannelEnd): Writable {
  let pending: (() => void) | undefined;
  let gone = false;
  const stdin = new Writable({
    write(bytes: Buffer, _encoding, done) {
      if (gone) return done();
      pending = () => {
        pending = undefined;
        done();
      };
      const mine = pending;
      // Called once the server's window took it; never, where the channel is closed before.
      channel.write(bytes, () => {
        if (pending === mine) mine();
      });
    },
    final(done) {
      if (!gone) channel.end();
      done();
    },
  });
  stdin.on("error", () => {});
  const leave = (): void => {
    gone = true;
    pending?.();
    stdin.destroy();
  };
  void end.told.then(leave);
  void end.closed.then(leave);
  void end.cut.then(leave);
  return stdin;
}

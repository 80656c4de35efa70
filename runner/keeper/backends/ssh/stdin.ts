// A command's stdin: the writing side of its channel. command.ts gives it to the job.
import type { Writable } from "node:stream";
import type { ClientChannel } from "ssh2";
import { stdinTo } from "../stdin.ts";
import type { ChannelEnd } from "./channel-end.ts";

export function stdinOf(channel: ClientChannel, end: ChannelEnd): Writable {
  const { stdin, leave } = stdinTo({
    // Told once the server's window took it.
    write: (bytes, done) => void channel.write(bytes, done),
    end: () => void channel.end(),
  });
  const over = (): void => {
    leave();
    stdin.destroy();
  };
  void end.told.then(over);
  void end.closed.then(over);
  void end.cut.then(over);
  return stdin;
}
